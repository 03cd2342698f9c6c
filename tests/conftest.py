"""What holds for every test, in whichever of the processes that share them out it runs."""

from __future__ import annotations

import os
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: each works with one thread
    os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # `nohup pytest &`; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)
