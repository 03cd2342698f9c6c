"""Speak a sentence from Python and write it to a file: `python speak.py "Hello." hello.wav`."""

import sys
from pathlib import Path

import voxkit

text = sys.argv[1] if len(sys.argv) > 1 else "Hello from Python."
path = Path(sys.argv[2] if len(sys.argv) > 2 else "hello.wav")

engine = voxkit.load()  # the bundled model
voice = voxkit.find_voice(engine.default_voice)
audio = engine.speak(text, voice, voxkit.Options(seed=7, speed=0.9))
voxkit.write_audio(path, audio, force=True)
print(f"{path}: {audio.seconds:.1f} s")
