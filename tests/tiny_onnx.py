"""Writes tiny ONNX files with the inputs and outputs of the hub's, without the `onnx` package.

The format is protobuf: a message is a row of fields, each a number and a value; the numbers are
those of the public `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT, INT32, INT64 = 1, 6, 7  # TensorProto.DataType
Size = int | str  # of an axis; a name where it is free


def speech_tokenizer(path: Path, *, bins: int = 128, codebook: int = 6561, every: int = 4) -> Path:
    """Every `every`-th frame of the lowest band, scaled, becomes a token below `codebook`."""
    nodes = [
        _node("Gather", ["mel", "zero"], ["band"], axis=1),
        _node("Slice", ["band", "start", "end", "one", "step"], ["some"]),
        _node("Mul", ["some", "scale"], ["large"]),
        _node("Abs", ["large"], ["positive"]),
        _node("Clip", ["positive", "low", "high"], ["bounded"]),
        _node("Cast", ["bounded"], ["tokens"], to=INT64),
    ]
    constants = {
        "zero": np.array(0, np.int64),
        "start": np.array([0], np.int64),
        "end": np.array([2**31], np.int64),
        "one": np.array([1], np.int64),
        "step": np.array([every], np.int64),
        "scale": np.array(100.0, np.float32),
        "low": np.array(0.0, np.float32),
        "high": np.array(codebook - 1.0, np.float32),
    }
    inputs = [_value("mel", FLOAT, (1, bins, "frames")), _value("length", INT32, (1,))]
    return _write(path, nodes, constants, inputs, [_value("tokens", INT64, (1, "tokens"))])


def speaker_encoder(path: Path, *, bins: int = 80, width: int = 192) -> Path:
    """The mean square of every band, mixed into `width` numbers."""
    mix = np.random.default_rng(0).normal(size=(bins, width)).astype(np.float32)
    nodes = [
        _node("Mul", ["input", "input"], ["square"]),
        _node("ReduceMean", ["square"], ["mean"], axes=[1], keepdims=0),
        _node("MatMul", ["mean", "mix"], ["output"]),
    ]
    inputs = [_value("input", FLOAT, ("batch", "frames", bins))]
    return _write(path, nodes, {"mix": mix}, inputs, [_value("output", FLOAT, ("batch", width))])


def _write(
    path: Path,
    nodes: Sequence[bytes],
    constants: dict[str, np.ndarray],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
) -> Path:
    """Write a model of IR version 7 and operator set 13, which every onnxruntime reads."""
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"tiny")
    graph += b"".join(_field(5, _tensor(name, array)) for name, array in constants.items())
    graph += b"".join(_field(11, value) for value in inputs)
    graph += b"".join(_field(12, value) for value in outputs)
    path.write_bytes(_field(1, 7) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13)))
    return path


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: int | list[int]) -> bytes:
    data = b"".join(_field(1, name.encode()) for name in inputs)
    data += b"".join(_field(2, name.encode()) for name in outputs)
    data += _field(4, kind.encode())
    for name, value in attributes.items():
        attribute = _field(1, name.encode())
        if isinstance(value, int):
            attribute += _field(3, value) + _field(20, 2)  # type INT
        else:
            attribute += b"".join(_field(8, one) for one in value) + _field(20, 7)  # type INTS
        data += _field(5, attribute)
    return data


def _tensor(name: str, array: np.ndarray) -> bytes:
    kind = {"f": FLOAT, "i": INT64}[array.dtype.kind]
    data = b"".join(_field(1, size) for size in array.shape)
    return data + _field(2, kind) + _field(8, name.encode()) + _field(9, array.tobytes())


def _value(name: str, kind: int, shape: Sequence[Size]) -> bytes:
    sizes = b"".join(
        _field(1, _field(1, size) if isinstance(size, int) else _field(2, size.encode()))
        for size in shape
    )
    tensor = _field(1, kind) + _field(2, sizes)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _field(number: int, value: int | bytes) -> bytes:
    """One field: a varint, or bytes after their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])
