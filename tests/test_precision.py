"""Which kinds of weights a call gets, and that every kind speaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import tiny
import torch
from tiny_cosyvoice import FAMILIES, hub_folder, voice

from voxkit import checkpoint, cosyvoice
from voxkit.errors import ModelError
from voxkit.modules import linears
from voxkit.options import Options
from voxkit.precision import Kind, Precision, chosen

CPU = torch.device("cpu")
needs_products8 = pytest.mark.skipif(
    not linears.has_products8(), reason="this processor has no products of int8 for many rows"
)


def folders(family: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Write a tiny hub folder, all of whose layers are worth packing, and its converted weights."""
    monkeypatch.setattr(linears, "SMALLEST", 1)
    hub, converted = hub_folder(path / "hub", family), path / "converted"
    converted.mkdir()
    cosyvoice.convert(hub, converted)
    return hub, converted


@pytest.mark.parametrize(
    "dtype, quantize, fast, expected",
    [
        ("auto", None, Kind.bf16, Precision(Kind.bf16, Kind.bf16)),
        ("auto", None, Kind.fp32, Precision()),
        ("fp32", None, Kind.bf16, Precision()),
        ("bf16", None, Kind.fp32, Precision(Kind.bf16, Kind.bf16)),
        ("auto", "int8", Kind.bf16, Precision(Kind.int8, Kind.bf16)),
        ("fp32", "int4", Kind.bf16, Precision(Kind.int4, Kind.fp32)),
    ],
)
def test_quantised_is_the_generator_and_auto_follows_the_machine(
    dtype: str, quantize: str | None, fast: Kind, expected: Precision
) -> None:
    assert chosen(dtype, quantize, fast=fast, on_cpu=True) == expected


def test_with_products_of_int8_the_decoder_is_quantised_after_its_norms() -> None:
    for quantize, dtype, eight in (
        ("int8", "auto", True),
        ("int4", "auto", True),
        (None, "auto", False),
        ("int8", "bf16", False),  # asked for
    ):
        made = chosen(dtype, quantize, fast=Kind.bf16, on_cpu=True, products8=True)
        assert (made.decoder, made.int8_after_norms) == (Kind.bf16, eight)


def eight_in(decoder: torch.nn.Module) -> dict[str, int]:
    """Count the layers of int8 for many rows by the last part of their name."""
    layers = (n for n, m in decoder.named_modules() if isinstance(m, linears.Int8Rows))
    return dict(Counter(name.rpartition(".")[2] for name in layers))


@needs_products8
def test_quantize_makes_the_native_decoder_int8_after_its_norms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    folder = tiny.folder(tmp_path / "model")
    for quantize, dtype, expected in (
        ("int8", "auto", {"qkv": 2, "inner": 2}),
        ("int8", "fp32", {}),
        (None, "auto", {}),
    ):
        engine = checkpoint.load(folder, device="cpu", quantize=quantize, dtype=dtype)
        assert eight_in(engine.parts.decoder.network) == expected  # type: ignore[attr-defined]


@needs_products8
@pytest.mark.parametrize("family", FAMILIES)
def test_quantize_makes_hub_decoders_int8_after_their_norms(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, converted = folders(family, tmp_path, monkeypatch)
    model = cosyvoice.load(
        hub, converted, device=CPU, precision=Precision(Kind.int8, int8_after_norms=True)
    )
    estimator = model.decoder.decoder.net.estimator
    blocks = sum(type(m).__name__ in ("AttentionBlock", "DitBlock") for m in estimator.modules())
    assert blocks > 1
    assert eight_in(estimator) == {"qkv": blocks, "widen": blocks}
    plain = cosyvoice.load(hub, converted, device=CPU, precision=Precision(Kind.int8))
    assert eight_in(plain.decoder.decoder.net) == {}


@needs_products8
@pytest.mark.parametrize("family", FAMILIES)
def test_int8_after_norms_in_hops_differs_from_the_whole_by_its_rounding(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, converted = folders(family, tmp_path, monkeypatch)
    decoder = cosyvoice.load(
        hub, converted, device=CPU, precision=Precision(int8_after_norms=True)
    ).decoder
    begun = decoder.init_state(voice(decoder.spec), Options())
    said, pieces = torch.arange(60) % 20, []
    whole, _ = decoder.decode(said, decoder.seed(begun, tiny.seeded(1)), True)
    state = decoder.seed(begun, tiny.seeded(1))
    for start in range(0, 60, 7):
        mel, state = decoder.decode(said[start : start + 7], state, start + 7 >= 60)
        pieces.append(mel)
    made = torch.cat(pieces, dim=2)
    # six or seven bits of what goes into a few layers, where each call has a scale of its own
    assert float((made - whole).norm() / whole.norm()) < 0.03


def test_an_unknown_precision_is_refused_in_one_sentence() -> None:
    with pytest.raises(ModelError, match="no precision 'fp8': use auto or fp32 or bf16"):
        checkpoint.load(dtype="fp8")
    with pytest.raises(ModelError, match="no precision 'int2': use int8 or int4"):
        checkpoint.load(quantize="int2")


def test_quantised_weights_are_refused_on_a_gpu() -> None:
    with pytest.raises(ModelError, match="int8 weights are for a CPU"):
        chosen("auto", "int8", fast=Kind.bf16, on_cpu=False)


@pytest.mark.parametrize("precision", [("bf16", None), ("fp32", "int8"), ("bf16", "int4")])
def test_the_native_model_speaks_in_every_precision(
    precision: tuple[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linears, "SMALLEST", 1)
    folder = tiny.folder(tmp_path / "model")
    dtype, quantize = precision
    engine = checkpoint.load(folder, device="cpu", dtype=dtype, quantize=quantize)
    assert not linears.packable(engine.parts.generator.model.transformer)  # type: ignore[attr-defined]
    spoken = engine.speak("Hello there.", tiny.voice(made_by=engine.fingerprint), Options(seed=0))
    assert spoken.seconds > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [Kind.bf16, Kind.int8, Kind.int4])
def test_a_hub_model_keeps_its_smaller_weights_on_disk(
    family: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, converted = folders(family, tmp_path, monkeypatch)
    plain = cosyvoice.load(hub, converted, device=CPU)
    precision = Precision(kind, Kind.bf16)
    first = cosyvoice.load(hub, converted, device=CPU, precision=precision)
    kept = converted / f"generator.{kind}.safetensors"
    assert kept.stat().st_size < 0.9 * (converted / "generator.safetensors").stat().st_size
    written = kept.stat().st_mtime_ns
    again = cosyvoice.load(hub, converted, device=CPU, precision=precision)
    assert kept.stat().st_mtime_ns == written
    ids, who = plain.frontend.ids("hello world"), voice(plain.spec)
    said = [list(m.generator.tokens(ids, who, Options(), tiny.seeded(0))) for m in (first, again)]
    assert said[0] == said[1]
    mels = []
    for model in (plain, first):
        state = model.decoder.seed(model.decoder.init_state(who, Options()), tiny.seeded(1))
        mels.append(model.decoder.decode(torch.arange(20), state, True)[0])
    # bf16 keeps 8 bits; a few layers and steps of the flow pass each rounding on
    assert float((mels[0] - mels[1]).norm() / mels[0].norm()) < 0.05


@needs_products8
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [Kind.fp32, Kind.bf16])
def test_a_decoder_with_int8_after_its_norms_says_nearly_the_same(
    family: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, converted = folders(family, tmp_path, monkeypatch)
    mels, who = [], voice(cosyvoice.spec_of(hub))
    for precision in (Precision(), Precision(decoder=kind, int8_after_norms=True)):
        decoder = cosyvoice.load(hub, converted, device=CPU, precision=precision).decoder
        state = decoder.seed(decoder.init_state(who, Options()), tiny.seeded(1))
        mels.append(decoder.decode(torch.arange(20), state, True)[0])
    assert 0 < float((mels[0] - mels[1]).norm() / mels[0].norm()) < 0.05


def test_weights_that_cannot_be_kept_on_disk_are_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, converted = folders(FAMILIES[0], tmp_path, monkeypatch)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cosyvoice, "save_file", full)
    model = cosyvoice.load(hub, converted, device=CPU, precision=Precision(Kind.int8))
    assert sorted(p.name for p in converted.iterdir()) == [
        "decoder.safetensors",
        "generator.safetensors",
        "vocoder.safetensors",
    ]
    ids, who = model.frontend.ids("hello"), voice(model.spec)
    assert list(model.generator.tokens(ids, who, Options(), tiny.seeded(0)))
