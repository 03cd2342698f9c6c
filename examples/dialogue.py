"""Let two voices talk, with pauses and styles written into the text: `dialogue.py out.wav`."""

import sys
from pathlib import Path

import voxkit

TEXT = """\
[voice:dave]Did you <strong>hear</strong> that?[/voice] [pause:300ms]
[voice:kathleen][rate:0.8]No.[/rate] It was only the [Nguyen](/N W IH1 N/) family's kettle.[/voice]
"""

path = Path(sys.argv[1] if len(sys.argv) > 1 else "dialogue.wav")
engine = voxkit.load()  # the bundled model
script = engine.prepare(voxkit.parse(TEXT))
for note in script.notes:  # markup that has no effect
    print(note)
audio = engine.speak(
    script,
    voxkit.find_voice(engine.default_voice),
    voxkit.Options(seed=7),
    style=voxkit.understand("a bit louder, calm"),
)
voxkit.write_audio(path, audio, force=True)
print(f"{path}: {audio.seconds:.1f} s, {len(script.sentences)} parts")
