"""How exactly a model's weights are kept: float32, or smaller where that is faster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voxkit.errors import ModelError


class Kind(StrEnum):
    """How the weights of linear layers are kept."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    int4 = "int4"


class Dtype(StrEnum):
    """What one can ask for; `auto` is bf16 where the machine has units for it, else fp32."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Quantize(StrEnum):
    """Smaller weights that one can ask for, of the token generator.

    The decoder's layers after norms then multiply in int8, where the processor can.
    """

    int8 = "int8"
    int4 = "int4"


@dataclass(frozen=True)
class Precision:
    """What each part is kept in.  The vocoder, whose phase adds errors up, stays in float32."""

    generator: Kind = Kind.fp32
    decoder: Kind = Kind.fp32
    int8_after_norms: bool = False  # of the decoder

    def of(self, part: str) -> tuple[Kind, bool]:
        """Return what a part is kept in, and whether its layers after norms are int8."""
        if part == "decoder":
            return self.decoder, self.int8_after_norms
        return self.generator if part == "generator" else Kind.fp32, False


FULL = Precision()


def chosen(
    dtype: str, quantize: str | None, *, fast: Kind, on_cpu: bool, products8: bool = False
) -> Precision:
    """Return what a call asks for on a device whose fastest good kind is `fast`.

    `products8` tells that it multiplies many rows in int8 too; a decoder of a `dtype` that was
    asked for stays in it.
    Raises `ModelError` for a kind that there is not, or not there.
    """
    for value, known in ((dtype, Dtype), (quantize, Quantize)):
        if value is not None and value not in list(known):
            raise ModelError(f"There is no precision {value!r}: use {' or '.join(known)}.")
    if quantize is not None and not on_cpu:
        raise ModelError(f"{quantize} weights are for a CPU: leave them out, or use --device cpu.")
    base = fast if dtype == Dtype.auto else Kind(dtype)
    if quantize is None:
        return Precision(base, base)
    return Precision(Kind(quantize), base, products8 and dtype == Dtype.auto)
