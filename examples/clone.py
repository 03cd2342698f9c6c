"""Make a voice from a recording and speak with it: `python clone.py ref.wav "What it says."`."""

import sys
from pathlib import Path

import voxkit

if len(sys.argv) < 2:
    sys.exit("usage: clone.py RECORDING [TRANSCRIPT]")
transcript = sys.argv[2] if len(sys.argv) > 2 else None

engine = voxkit.load()
try:
    recording = voxkit.read_audio(Path(sys.argv[1]))
    voice = engine.clone(recording, name="guest", transcript=transcript)
except voxkit.VoxkitError as error:  # one sentence that says what to do
    sys.exit(str(error))
voxkit.save_voice(voice, Path("guest.safetensors"), force=True)
audio = engine.speak("This is my voice, on your machine.", voice)
voxkit.write_audio(Path("guest.wav"), audio, force=True)
