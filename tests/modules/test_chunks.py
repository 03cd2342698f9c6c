"""Masks, keys and values on the chunk grid."""

from __future__ import annotations

import pytest
import torch
from tiny import seeded

from voxkit.modules.chunks import CausalConv, ChunkMask, no_keys

CPU = torch.device("cpu")


def test_a_frame_sees_its_chunk_and_all_before_it() -> None:
    mask = ChunkMask(0, 7, 3).dense(CPU)
    assert mask.sum(dim=1).tolist() == [3, 3, 3, 6, 6, 6, 7]
    assert all(bool(row[:seen].all()) for row, seen in zip(mask, mask.sum(dim=1), strict=True))


def test_a_later_stretch_has_the_later_rows_of_the_whole_mask() -> None:
    assert torch.equal(ChunkMask(3, 11, 3).dense(CPU), ChunkMask(0, 11, 3).dense(CPU)[3:])


@pytest.mark.parametrize(
    "start, stop, clear", [(0, 3, True), (6, 8, True), (6, 9, True), (0, 0, True), (2, 4, False)]
)
def test_within_one_chunk_everything_is_seen(start: int, stop: int, clear: bool) -> None:
    mask = ChunkMask(start, stop, 3)
    assert mask.is_clear is clear is bool(mask.dense(CPU).all())


@pytest.mark.parametrize("start, stop", [(0, 11), (2, 11), (6, 7), (6, 12)])
@pytest.mark.parametrize("chunks", [1, 2])
def test_parts_of_a_mask_are_its_rows_and_end_on_the_grid(
    start: int, stop: int, chunks: int
) -> None:
    whole, at = ChunkMask(start, stop, 3), start
    for part in whole.parts(chunks):
        assert part.start == at
        assert part.stop == stop or part.stop % 3 == 0
        rows = whole.dense(CPU)[at - start : part.stop - start]
        assert torch.equal(part.dense(CPU), rows[:, : part.stop])
        assert not rows[:, part.stop :].any()
        assert part.is_clear or chunks > 1
        at = part.stop
    assert at == stop


def test_a_closing_state_keeps_nothing_of_what_is_appended() -> None:
    keys = torch.randn(2, 3, 9, 4, generator=seeded(0))
    for length in (0, 5):
        _, _, seen = no_keys(2, 3, 4, keys).append(keys[:, :, :length], -keys[:, :, :length])
        seen = seen if length else no_keys(2, 3, 4, keys)
        closing = seen.closing()
        for new in (keys[:, :, 5:], keys[:, :, 6:] + 1):
            all_keys, all_values, after = closing.append(new, -new)
            assert torch.equal(all_keys, torch.cat([keys[:, :, :length], new], dim=2))
            assert torch.equal(all_values, -all_keys)
            assert after.length == length
        again, _, _ = seen.append(keys[:, :, 5:], keys[:, :, 5:])  # the state itself goes on
        assert torch.equal(again[:, :, length:], keys[:, :, 5:])


def test_what_is_kept_is_no_view_of_more() -> None:
    packed = torch.randn(3, 2, 3, 9, 4, generator=seeded(0))
    _, _, seen = no_keys(2, 3, 4, packed).append(packed[1], packed[2])
    assert seen.keys.untyped_storage().nbytes() == packed[1].nbytes
    conv = CausalConv(3, 5, 3)
    _, past = conv.step(torch.randn(2, 3, 50, generator=seeded(1)), conv.init_state(2))
    assert past.untyped_storage().nbytes() == past.nbytes


def test_appended_keys_are_those_of_one_call() -> None:
    keys = torch.randn(2, 3, 20, 4, generator=seeded(0))
    seen = no_keys(2, 3, 4, keys)
    start = 0
    for end in (1, 2, 5, 6, 7, 13, 20):
        piece = keys[:, :, start:end]
        all_keys, all_values, seen = seen.append(piece, -piece)
        assert torch.equal(all_keys, keys[:, :, :end])
        assert torch.equal(all_values, -keys[:, :, :end])
        start = end
    assert seen.length == 20


def test_continuations_of_a_shared_state_do_not_disturb_each_other() -> None:
    keys = torch.randn(1, 1, 9, 2, generator=seeded(0))
    state = no_keys(1, 1, 2, keys)
    for frame in range(3):  # leaves spare room behind the third
        state = state.append(keys[:, :, frame : frame + 1], keys[:, :, frame : frame + 1])[2]
    shared = state.shared()
    first = shared.append(keys[:, :, 3:6], keys[:, :, 3:6])[0]
    before = first.clone()
    second = shared.append(keys[:, :, 6:9], keys[:, :, 6:9])[0]
    assert torch.equal(first, before)
    assert torch.equal(second, torch.cat([keys[:, :, :3], keys[:, :, 6:9]], dim=2))


def test_forgotten_frames_are_gone_and_the_others_stay() -> None:
    keys = torch.randn(1, 2, 8, 3, generator=seeded(0))
    seen = no_keys(1, 2, 3, keys).append(keys, keys)[2]
    kept = seen.without(2, 5)
    assert kept.length == 5
    assert torch.equal(kept.keys, torch.cat([keys[:, :, :2], keys[:, :, 5:]], dim=2))
    assert seen.without(5, 5) is seen


@pytest.mark.parametrize("sizes", [(10,), (1, 1, 8), (4, 6)])
def test_a_causal_convolution_in_pieces_is_the_whole_one(sizes: tuple[int, ...]) -> None:
    conv = CausalConv(3, 5, 4)
    x = torch.randn(2, 3, 10, generator=seeded(0))
    whole, _ = conv.step(x, conv.init_state(2))
    past, pieces = conv.init_state(2), []
    for piece in x.split(sizes, dim=2):
        y, past = conv.step(piece, past)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, atol=1e-6, rtol=0)
