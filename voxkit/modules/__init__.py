"""Neural modules: tensors in, tensors out; they read no files, know no voices and print nothing."""
