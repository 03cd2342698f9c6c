"""Speak what a writer, such as a language model, is still writing: `python converse.py out.wav`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import voxkit

path = Path(sys.argv[1] if len(sys.argv) > 1 else "out.wav")


def writer() -> Iterator[str]:
    """Stand in for a model's tokens: pieces of text, cut anywhere."""
    story = (
        "Once there was a lamp on a hill, and every night it waited for ships. One came. The end."
    )
    for start in range(0, len(story), 5):
        yield story[start : start + 5]


engine = voxkit.load()
voice = voxkit.find_voice(engine.default_voice)
pieces, seconds = [], 0.0
with engine.stream(writer(), voice, voxkit.Options(seed=7)) as speech:
    for audio in speech:
        pieces.append(audio.samples)
        seconds += audio.seconds
        if seconds > 4.0:  # somebody interrupts
            break
    print(f"said until then: {speech.spoken_text()}")
voxkit.write_audio(path, voxkit.Audio(np.concatenate(pieces), engine.sample_rate), force=True)
