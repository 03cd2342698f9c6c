"""The letter-to-sound network learns, reads any word, and trains as its seed says."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from voxkit.errors import SpecError, TrainingError
from voxkit.modules.letters import BLANK, Letters, collapse, stressed
from voxkit.phonemes import PHONES, Lexicon
from voxkit.spec import PhoneTextSpec
from voxkit.train.letters import (
    LettersRecipe,
    LettersTask,
    TaskRecipe,
    edit_distance,
    read_recipe,
    score,
    split_words,
    train_letters,
)
from voxkit.train.loop import Draw, LoopRecipe

TINY = PhoneTextSpec("phones", "en", 8, letters_width=48, letters_layers=1, letters_heads=2)
WORDS = (
    "cat dog house tree apple thing night phone write music box queen yellow zebra ship chair "
    "judge vision mouth laugh"
).split()


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, tuple[str, ...]]]:
    entries = Lexicon.bundled().entries
    return [(word, tuple(entries[word].split())) for word in WORDS]


def recipe(steps: int) -> LettersRecipe:
    loop = LoopRecipe(
        seed=3,
        steps=steps,
        lr=5e-3,
        warmup=1,
        floor=0.0,
        weight_decay=0.0,
        beta2=0.98,
        clip=1.0,
        average=0.0,
        log_every=1,
        evaluate_every=1000,
        checkpoint_every_s=1000.0,
    )
    return LettersRecipe(loop, TaskRecipe(batch=20, held_out_share=0.0), TINY)


def small(seed: int = 0) -> Letters:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Letters(TINY).eval()


def test_the_network_overfits_twenty_words(pairs: list[tuple[str, tuple[str, ...]]]) -> None:
    task = LettersTask(recipe(1), pairs)
    optimiser = torch.optim.Adam(task.model.parameters(), lr=1e-2)
    for step in range(50):
        loss = task.losses(step, Draw(0, step))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert isinstance(task.model, Letters)
    task.model.eval()
    found = score(task.model, pairs)
    assert (found.words, found.phone_error_rate, found.word_accuracy) == (20, 0.0, 1.0)
    assert [task.model.phones(word) for word, _ in pairs] == [sounds for _, sounds in pairs]


def test_padding_changes_nothing() -> None:
    net = small()
    word = torch.tensor([[3, 1, 20]])
    padded = torch.tensor([[3, 1, 20, 0, 0], [1, 2, 3, 4, 5]])
    # Sums are taken in another order, which moves float32 by about 1e-6.
    torch.testing.assert_close(net(padded)[:1, :6], net(word), atol=1e-5, rtol=0)


def test_every_weight_gets_a_gradient(pairs: list[tuple[str, tuple[str, ...]]]) -> None:
    task = LettersTask(recipe(1), pairs)
    task.losses(0, Draw(0, 0))["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.model.parameters())


@pytest.mark.parametrize("word", ["x", "zzz", "O'Brien", "Ünterwäsche", "a" * 500])
def test_any_word_of_letters_is_read_as_phones(word: str) -> None:
    assert set(small().phones(word)) <= set(PHONES)


def test_a_word_without_letters_says_nothing() -> None:
    assert small().phones("東京7") == ()


def test_repeats_merge_and_blanks_part_them() -> None:
    b, k = PHONES.index("B"), PHONES.index("K")
    assert collapse([b, b, BLANK, b, k, k, BLANK]) == ("B", "B", "K")
    assert collapse([]) == ()


def test_a_word_without_primary_stress_gets_one() -> None:
    assert stressed(("B", "AH0", "T", "IY2")) == ("B", "AH0", "T", "IY1")
    assert stressed(("B", "AH0")) == ("B", "AH1")
    assert stressed(("B", "AH1", "IY0")) == ("B", "AH1", "IY0")
    assert stressed(("S",)) == ("S",)


def test_held_out_words_are_never_trained_on_and_depend_on_the_seed() -> None:
    lexicon = Lexicon({w: " ".join(["B"] * 3) for w in ("abc", "abd", "abe", "abf", "don't", "a")})
    train, held = split_words(lexicon, 0.25, seed=1)
    assert len(train) == 3 and len(held) == 1
    assert sorted(w for w, _ in [*train, *held]) == ["abc", "abd", "abe", "abf"]
    assert split_words(lexicon, 0.25, seed=1) == (train, held)
    assert len({split_words(lexicon, 0.25, seed=s)[1][0][0] for s in range(12)}) > 1


def test_the_batch_of_a_step_does_not_depend_on_the_steps_before(
    pairs: list[tuple[str, tuple[str, ...]]],
) -> None:
    wanted = dataclasses.replace(recipe(9), task=TaskRecipe(batch=6, held_out_share=0.0))
    first, second = LettersTask(wanted, pairs), LettersTask(wanted, pairs)
    for step in range(6):
        first.losses(step, Draw(0, step))
    with torch.no_grad():
        assert torch.equal(
            first.losses(6, Draw(0, 6))["loss"], second.losses(6, Draw(0, 6))["loss"]
        )


def test_training_leaves_half_precision_weights_that_load(
    tmp_path: Path, pairs: list[tuple[str, tuple[str, ...]]]
) -> None:
    steps: list[int] = []
    out = tmp_path / "letters.safetensors"
    net = train_letters(recipe(3), out, pairs=pairs, progress=lambda step, loss: steps.append(step))
    assert steps == [0, 1, 2]
    again = Letters(TINY)
    weights = load_file(out)
    again.load_state_dict({name: value.float() for name, value in weights.items()})
    assert all(value.dtype == torch.float16 for value in weights.values())
    word = torch.tensor([[3, 1, 20]])
    # fp16 keeps 11 bits of each weight.
    torch.testing.assert_close(again(word), net(word), atol=2e-2, rtol=0)


def test_the_packaged_recipe_reads_and_stays_small() -> None:
    path = Path(str(resources.files("voxkit"))) / "train/recipes/letters.toml"
    wanted = read_recipe(path)
    assert wanted.steps == wanted.loop.steps
    with torch.device("meta"):
        net = Letters(wanted.net)
    assert sum(p.numel() for p in net.parameters()) <= 1_200_000


def test_a_missing_or_broken_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no recipe"):
        read_recipe(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("steps = ", encoding="utf-8")
    with pytest.raises(TrainingError, match="not valid TOML"):
        read_recipe(bad)
    bad.write_text("steps = 3", encoding="utf-8")
    with pytest.raises(SpecError, match="bad.toml.steps"):
        read_recipe(bad)


def test_edit_distance_counts_changes() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "ab") == 2
