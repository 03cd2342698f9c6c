"""Write speech to stdout as it is made: `python stream.py "Hello." | aplay -f S16_LE -r 24000`."""

import sys
import time

import numpy as np

import voxkit

text = sys.argv[1] if len(sys.argv) > 1 else "The first words come early. The others follow."

engine = voxkit.load()
voice = voxkit.find_voice(engine.default_voice)
started = time.perf_counter()
for number, chunk in enumerate(engine.stream(text, voice, voxkit.Options(seed=7))):
    if number == 0:
        print(f"first audio after {time.perf_counter() - started:.2f} s", file=sys.stderr)
    sys.stdout.buffer.write((chunk.samples * 32767).astype(np.int16).tobytes())
    sys.stdout.buffer.flush()
