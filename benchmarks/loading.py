"""The flags of benchmarks that load one model, and its loading."""

from __future__ import annotations

import argparse
from typing import Any

import voxkit
from voxkit.precision import Dtype, Quantize


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark be told which model it measures, and how that runs."""
    parser.add_argument("--model", default="voxkit-en")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--dtype", default="auto", choices=list(Dtype))
    parser.add_argument("--quantize", choices=list(Quantize), help="smaller generator weights")
    parser.add_argument("--threads", type=int)


def loaded(arguments: argparse.Namespace) -> Any:
    """Return the engine that these flags ask for."""
    return voxkit.load(
        arguments.model,
        device=arguments.device,
        threads=arguments.threads,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
    )
