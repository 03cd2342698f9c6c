"""Checks that a WAV file holds a short sentence and not silence, noise at full scale or nothing."""

import sys

import numpy as np
import soundfile as sf

samples, sample_rate = sf.read(sys.argv[1], dtype="float32", always_2d=True)
duration_s = len(samples) / sample_rate
rms_db = 20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9) if len(samples) else -180.0
peak = float(np.abs(samples).max(initial=0.0))
print(f"{sys.argv[1]}: {duration_s:.2f} s at {sample_rate} Hz, {rms_db:.1f} dBFS, peak {peak:.2f}")
if sf.info(sys.argv[1]).format != "WAV":
    sys.exit("That is no WAV file.")
if samples.shape[1:] != (1,) or not 0.5 <= duration_s <= 6.0:
    sys.exit("A greeting of three words should be mono and last between 0.5 and 6 seconds.")
if not np.isfinite(samples).all() or not -40.0 <= rms_db <= -6.0:
    sys.exit("That is too quiet or too loud to be speech.")
