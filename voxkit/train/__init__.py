"""Training of the bundled model: corpus, parts and export; imported only by `voxkit train`."""
