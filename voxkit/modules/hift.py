"""HiFT, the vocoder of CosyVoice 2 and 3: mel and a harmonic source in, waveform out.

Both releases are one network: plain (every convolution sees both sides) or causal (every one looks
back, but for the first, which sees a few frames ahead).  Sequences are (B, C, T).
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxkit.cosyvoice_spec import HiftSpec
from voxkit.spec import MelSpec


def by_frames(x: Tensor) -> Tensor:
    """Return x (B, C, T) with the channels of a frame side by side in memory, where that helps.

    A CPU convolves it up to twice as fast so.
    """
    return x.transpose(1, 2).contiguous().transpose(1, 2) if x.device.type == "cpu" else x


def _lies_by_frames(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.stride(1) == 1 and x.stride(2) == x.shape[1] > 1


class Conv(nn.Conv1d):
    """A convolution that leaves what lies by frames as it lies; torch would lay it out anew."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T')."""
        if not _lies_by_frames(x):
            return super().forward(x)
        stride, padding, dilation = (
            (least, *map(int, given))
            for least, given in ((1, self.stride), (0, self.padding), (1, self.dilation))
        )
        weight = self.weight[:, :, None]
        y = F.conv2d(x[:, :, None], weight, self.bias, stride, padding, dilation, self.groups)
        return y[:, :, 0]


class TransposedConv(nn.ConvTranspose1d):
    """A transposed convolution that leaves what lies by frames as it lies."""

    def __init__(self, inputs: int, outputs: int, kernel: int, rate: int, *, padding: int) -> None:
        super().__init__(inputs, outputs, kernel, rate, padding=padding)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, T) → (B, C', T'), whose length nobody may ask for otherwise."""
        assert output_size is None
        if not _lies_by_frames(x):
            return super().forward(x)
        stride, padding = (1, *self.stride), (0, *map(int, self.padding))
        weight = self.weight[:, :, None]
        return F.conv_transpose2d(x[:, :, None], weight, self.bias, stride, padding)[:, :, 0]


class SameConv(Conv):
    """Convolution that keeps the length: zeros on the left if causal, else on both sides."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, causal: bool
    ) -> None:
        reach = (kernel - 1) * dilation
        super().__init__(
            inputs, outputs, kernel, dilation=dilation, padding=0 if causal else reach // 2
        )
        self.left = reach if causal else 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        return super().forward(_after_zeros(x, self.left))


def _joined(x: Tensor, y: Tensor) -> Tensor:
    """(B, C, T), (B, C, T') → (B, C, T + T'), lying as y does."""
    if not _lies_by_frames(y):
        return torch.cat([x, y], dim=2)
    return torch.cat([x.transpose(1, 2), y.transpose(1, 2)], dim=1).transpose(1, 2)


def _after_zeros(x: Tensor, count: int) -> Tensor:
    """(B, C, T) → (B, C, count + T)."""
    return _joined(x.new_zeros(x.shape[0], x.shape[1], count), x) if count else x


class AheadConv(Conv):
    """Convolution that sees the frame and `kernel - 1` frames after it, zeros past the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        return super().forward(F.pad(x, (0, self.kernel_size[0] - 1)))


class Snake(nn.Module):
    """x + sin²(αx) / α, one α per channel (Liu et al. 2020, arXiv 2006.08195); not for training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, T)."""
        alpha = self.alpha[:, None]
        wave = (x * alpha).sin_()
        return wave.mul_(wave).div_(alpha + 1e-9).add_(x)  # in place: it is memory that takes time


class ResBlock(nn.Module):
    """Residual pairs of convolutions, the first of each pair dilated."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], *, causal: bool
    ) -> None:
        super().__init__()
        self.inner = nn.ModuleList(
            SameConv(channels, channels, kernel, dilation=d, causal=causal) for d in dilations
        )
        self.outer = nn.ModuleList(
            SameConv(channels, channels, kernel, causal=causal) for _ in dilations
        )
        self.inner_snakes = nn.ModuleList(Snake(channels) for _ in dilations)
        self.outer_snakes = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C, T)."""
        for inner, outer, first, second in zip(
            self.inner, self.outer, self.inner_snakes, self.outer_snakes, strict=True
        ):
            x = x + outer(second(inner(first(x))))
        return x


class Upsampling(nn.Module):
    """Raise the rate: by a transposed convolution, or causally by repeating and convolving."""

    def __init__(self, inputs: int, outputs: int, kernel: int, rate: int, *, causal: bool) -> None:
        super().__init__()
        self.rate = rate
        self.conv: nn.Conv1d | nn.ConvTranspose1d
        if causal:
            self.conv = SameConv(inputs, outputs, kernel, causal=True)
        else:
            self.conv = TransposedConv(inputs, outputs, kernel, rate, padding=(kernel - rate) // 2)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) → (B, C', rate · T)."""
        return self.conv(_repeated(x, self.rate) if self.causal else x)


def _repeated(x: Tensor, rate: int) -> Tensor:
    """(B, C, T) → (B, C, rate · T), every frame repeated."""
    if not _lies_by_frames(x):
        return x.repeat_interleave(rate, dim=2)
    return x.transpose(1, 2).repeat_interleave(rate, dim=1).transpose(1, 2)


class F0Predictor(nn.Module):
    """mel (B, M, F) → f0 (B, F) in Hz.  In float64 where the spec says so; the mel is converted."""

    def __init__(self, spec: HiftSpec, bins: int) -> None:
        super().__init__()
        first: nn.Conv1d = (
            AheadConv(bins, spec.f0_width, spec.f0_first_kernel)
            if spec.causal
            else SameConv(bins, spec.f0_width, spec.f0_first_kernel, causal=False)
        )
        self.convs = nn.ModuleList(
            [first]
            + [SameConv(spec.f0_width, spec.f0_width, 3, causal=spec.causal) for _ in range(4)]
        )
        self.out = nn.Linear(spec.f0_width, 1)
        if spec.f0_float64:
            self.double()

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, M, F) → f0 (B, F) in Hz, float32."""
        x = mel.to(self.out.weight.dtype)
        for conv in self.convs:
            x = F.elu(conv(x))
        return self.out(x.transpose(1, 2))[..., 0].abs().to(mel.dtype)


class Hift(nn.Module):
    """The whole network.  `f0`, then a source made from it (`hift_source.py`), then `decode`."""

    def __init__(self, spec: HiftSpec, mel: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = [spec.width >> i for i in range(len(spec.upsample_rates) + 1)]
        bands = spec.n_fft // 2 + 1
        self.f0 = F0Predictor(spec, mel.bins)
        self.merge = nn.Linear(spec.harmonics, 1)
        self.conv_pre: nn.Conv1d = (
            AheadConv(mel.bins, spec.width, spec.pre_kernel)
            if spec.causal
            else SameConv(mel.bins, spec.width, spec.pre_kernel, causal=False)
        )
        self.ups = nn.ModuleList(
            Upsampling(widths[i], widths[i + 1], kernel, rate, causal=spec.causal)
            for i, (rate, kernel) in enumerate(
                zip(spec.upsample_rates, spec.upsample_kernels, strict=True)
            )
        )
        self.source_downs = nn.ModuleList(
            Conv(
                2 * bands,
                width,
                1 if stride == 1 else 2 * stride,
                stride,
                padding=0 if spec.causal else stride // 2,
            )
            for width, stride in zip(widths[1:], source_strides(spec), strict=True)
        )
        self.source_blocks = nn.ModuleList(
            ResBlock(width, kernel, dilations, causal=spec.causal)
            for width, kernel, dilations in zip(
                widths[1:], spec.source_kernels, spec.source_dilations, strict=True
            )
        )
        self.blocks = nn.ModuleList(
            ResBlock(width, kernel, dilations, causal=spec.causal)
            for width in widths[1:]
            for kernel, dilations in zip(spec.block_kernels, spec.block_dilations, strict=True)
        )
        self.conv_post = SameConv(widths[-1], 2 * bands, 7, causal=spec.causal)

    def source_spectrum(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """source (B, S) → real and imaginary STFT, each (B, n_fft/2+1, S/hop + 1)."""
        n_fft, hop = self.spec.n_fft, self.spec.hop
        stft = torch.stft(source, n_fft, hop, window=self._window(source), return_complex=True)
        return stft.real, stft.imag

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """mel (B, M, F), source (B, S) with S = F · samples per frame → wav (B, S)."""
        spec = self.spec
        spectrum = by_frames(torch.cat(self.source_spectrum(source), dim=1))
        x = by_frames(self.conv_pre(mel))
        per_stage = len(spec.block_kernels)
        for i, (up, down, source_block) in enumerate(
            zip(self.ups, self.source_downs, self.source_blocks, strict=True)
        ):
            x = up(F.leaky_relu(x, spec.leak))
            if i == len(self.ups) - 1:
                x = _joined(x[:, :, 1:2], x)  # mirrored
            assert isinstance(down, nn.Conv1d)
            behind = down.stride[0] - 1 if spec.causal else 0
            x = x + source_block(down(_after_zeros(spectrum, behind)))
            blocks = self.blocks[i * per_stage : (i + 1) * per_stage]
            x = functools.reduce(operator.add, [block(x) for block in blocks]) / per_stage
        x = self.conv_post(F.leaky_relu(x))  # torch's default slope, unlike the others
        bands = spec.n_fft // 2 + 1
        magnitude = x[:, :bands].exp().clamp(max=100.0)
        phase = x[:, bands:].sin()
        wav = torch.istft(
            torch.complex(magnitude * phase.cos(), magnitude * phase.sin()),
            spec.n_fft,
            spec.hop,
            window=self._window(mel),
        )
        return wav.clamp(-spec.limit, spec.limit)

    def _window(self, like: Tensor) -> Tensor:
        return torch.hann_window(self.spec.n_fft, dtype=like.dtype, device=like.device)


def source_strides(spec: HiftSpec) -> tuple[int, ...]:
    """By how much each stage slows the source's STFT down: the product of the later rates."""
    return tuple(math.prod(spec.upsample_rates[i + 1 :]) for i in range(len(spec.upsample_rates)))


def samples_per_frame(spec: HiftSpec) -> int:
    """Samples of waveform per mel frame."""
    return math.prod(spec.upsample_rates) * spec.hop


@dataclass(frozen=True)
class Reach:
    """How many mel frames around its own a frame of waveform depends on."""

    f0_left: int
    f0_right: int
    left: int
    right: int


def reach(spec: HiftSpec) -> Reach:
    """Work out the receptive field of `decode` and of the f0 predictor, in whole mel frames."""
    convs = 4  # of the f0 predictor after its first
    if spec.causal:
        f0_left, f0_right = 2 * convs, spec.f0_first_kernel - 1
    else:
        f0_left = f0_right = convs + spec.f0_first_kernel // 2
    left, source_left = _decode_reach(spec, left=True)
    right, source_right = _decode_reach(spec, left=False)
    return Reach(f0_left, f0_right, max(left, source_left), max(right, source_right))


def _decode_reach(spec: HiftSpec, *, left: bool) -> tuple[int, int]:
    """Follow one side of the receptive field from the samples back to (mel frames, source frames).

    `at` counts steps at the current stage's rate; half an STFT window is added for each STFT.
    """
    half_window = math.ceil(spec.n_fft / 2 / spec.hop)
    at = half_window + _side(6, spec, left) + 1  # conv_post; 1 for the reflected step
    source = 0.0
    strides, total = source_strides(spec), math.prod(spec.upsample_rates)
    for i in reversed(range(len(spec.upsample_rates))):
        at += max(
            _side(sum((k - 1) * (d + 1) for d in dilations), spec, left)
            for k, dilations in zip(spec.block_kernels, spec.block_dilations, strict=True)
        )
        block = sum((spec.source_kernels[i] - 1) * (d + 1) for d in spec.source_dilations[i])
        behind = at + _side(block, spec, left)
        stft_steps = behind * strides[i] + 2 * strides[i] + half_window
        source = max(source, stft_steps / total)
        rate, kernel = spec.upsample_rates[i], spec.upsample_kernels[i]
        at = math.ceil((at + (_side(kernel - 1, spec, left) if spec.causal else kernel)) / rate)
    mel = at + ((0 if left else spec.pre_kernel - 1) if spec.causal else spec.pre_kernel // 2)
    return mel, math.ceil(source)


def _side(span: int, spec: HiftSpec, left: bool) -> int:
    """Steps that a convolution spanning `span` + 1 steps sees on one side."""
    if spec.causal:
        return span if left else 0
    return span // 2
