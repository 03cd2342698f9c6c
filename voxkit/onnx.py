"""Opens ONNX networks: on the CPU, on one thread, telling nobody of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def keep_to_ourselves() -> None:
    """Keep onnxruntime from sending its maker what it runs on, unless the user wants that.

    It must be told before it is first imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def session(file: Path) -> Any:
    """Open the network in a file; what onnxruntime raises for a bad one has no base of its own."""
    keep_to_ourselves()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone: warnings about unused weights are not for users
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
