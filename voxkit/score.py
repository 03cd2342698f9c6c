"""Makes a `Script` of marked-up text: what is said, in which manner, by whom, with which pauses.

Where the manner or the voice changes, the text is cut, and the parts are spoken one after the
other; a part that ends inside a sentence ends in a comma, so that it is heard to go on.  Each part
is normalised on its own, so a number or a word is whole unless markup cuts it in two.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from voxkit.errors import TextError
from voxkit.markup import Boundary, Event, Pause, Piece, Spoken, problems, spoken_text
from voxkit.phonemes import GIVEN
from voxkit.pronunciation import Pronunciation
from voxkit.style import PLAIN, Manner
from voxkit.text import MAX_CHARACTERS, Script, Sentence

# Words that stand in for phones while a part is normalised.  The dictionary knows them all, none
# changes what is written beside it, and only those that the text does not hold are used.
_STAND_INS = (
    "aardvark abacus alfalfa banjo bassoon bonnet bonsai cactus caboose chinchilla dolphin "
    "flamingo gazebo hammock igloo kumquat lasagna maraca ocelot quinoa rhubarb sombrero walrus"
).split()
_ENDED = re.compile(r"[.!?:…。！？：][\"')\]”’»」』）]*\s*$|\n[ \t]*\n\s*$")
CLOSING_MARKS = r"[,;.!?:…，；。！？：)\]”’»」』）]"
CLOSING = re.compile(rf"{CLOSING_MARKS}+(?=\s|$)")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*$")
_FULL_STOPS = {".": ",", "。": "，"}


def write_script(
    pieces: Sequence[Piece], prepare: Callable[[str], Script], marks: frozenset[str]
) -> Script:
    """Return the sentences of marked-up text, each with its manner and the pause after it.

    `prepare` normalises a plain text and `marks` are what the model reads beside words: [breath],
    or a slash where phones between slashes may stand for a word.  Raises `TextError` for a text
    with nothing to say.
    """
    if len(words := spoken_text(pieces)) > MAX_CHARACTERS:
        return prepare(words)  # says that it is too long
    parts = Parts(marks, words.casefold())
    for piece in pieces:
        parts.add(piece)
    stretches = _joined(parts.stretches)
    said = any(stretch.text.strip() for stretch in stretches)
    if not said and not all(isinstance(piece, Spoken) for piece in pieces):
        raise TextError("There is nothing to say: the text holds only markup; add some words.")
    if len(stretches) == 1 and stretches[0].is_plain:
        return dataclasses.replace(prepare(stretches[0].text), notes=_notes(pieces, parts))
    sentences: list[Sentence] = []
    unsaid: dict[str, None] = {}
    lead_ms = 0.0
    for index, stretch in enumerate(stretches):
        made = _sentences(stretch, prepare, unsaid, last=index == len(stretches) - 1)
        if made:
            sentences += made
        elif not sentences:
            lead_ms += stretch.pause_ms or 0.0
        else:
            sentences[-1] = _passed_on(sentences[-1], stretch)
    if not sentences:
        return prepare("".join(stretch.text for stretch in stretches))  # says why there is none
    return Script(tuple(sentences), tuple(unsaid), lead_ms, _notes(pieces, parts))


def _notes(pieces: Iterable[Piece], parts: Parts) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*problems(pieces), *parts.notes)))


@dataclass
class Stretch:
    """A part of the text that is spoken in one manner, and what follows it."""

    manner: Manner
    text: str = ""
    phones: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # by stand-in
    pause_ms: float | None = None
    ends: str | None = None  # "sentence" or "paragraph": whatever the punctuation

    @property
    def is_plain(self) -> bool:
        """Whether it could as well be plain text."""
        return self.manner == PLAIN and not self.phones and self.pause_ms is None


class Parts:
    """Collects pieces into stretches of one manner."""

    def __init__(self, marks: frozenset[str], words: str) -> None:
        self.marks = marks
        self.stand_ins = [word for word in _STAND_INS if word not in words]
        self.stretches: list[Stretch] = [Stretch(PLAIN)]
        self.notes: dict[str, None] = {}  # each once, in order

    def add(self, piece: Piece) -> None:
        """Put a piece into the stretch that it belongs to."""
        match piece:
            case Spoken():
                self._say(piece)
            case Event():
                if f"[{piece.name}]" in self.marks:
                    self._stretch(self._manner(piece.manner)).text += f"[{piece.name}]"
                else:
                    self.notes[f"[{piece.name}] is silent: this model has no such sound."] = None
            case Pause():
                last = self.stretches[-1]
                last.pause_ms = (last.pause_ms or 0.0) + piece.ms
            case Boundary():
                last = self.stretches[-1]
                last.ends = piece.kind if last.ends != "paragraph" else last.ends

    def _say(self, piece: Spoken) -> None:
        manner = self._manner(piece.manner)
        text = self._written(piece.text)
        if not piece.text.strip() and piece.said is None:  # spacing alone changes no manner
            self.stretches[-1].text += text
            return
        stretch = self._stretch(manner)
        if piece.said is not None:
            text = self._pronounced(text, piece.said, stretch)
        if piece.manner.emphasis == "strong" and manner.emphasis == "none":
            text = f"<strong>{text}</strong>"
        if piece.manner.laughing and "<laughter>" in self.marks:
            text = f"<laughter>{text}</laughter>"
        stretch.text += text

    def _written(self, text: str) -> str:
        """Return words in which nothing is taken for one of the model's marks."""
        for mark in self.marks - {GIVEN}:
            if mark in text:
                text = text.replace(mark, mark[1:-1])
        return text

    def _manner(self, manner: Manner) -> Manner:
        """Return what is left of a manner when the model's own marks have done their part."""
        if manner.laughing and "<laughter>" not in self.marks:
            self.notes["<laughter> has no effect: this model cannot laugh."] = None
        told = manner.emphasis == "strong" and "<strong>" in self.marks
        return dataclasses.replace(
            manner, emphasis="none" if told else manner.emphasis, laughing=False
        )

    def _stretch(self, manner: Manner) -> Stretch:
        """Return the stretch that words of this manner belong to."""
        last = self.stretches[-1]
        if last.manner != manner or last.pause_ms is not None or last.ends is not None:
            last = Stretch(manner)
            self.stretches.append(last)
        return last

    def _pronounced(self, word: str, said: Pronunciation, stretch: Stretch) -> str:
        """Return what stands in the text for a word that is said in its own way."""
        if said.kind == "respelling":
            return said.value
        inline = [f"[{phone}]" for phone in said.phones]
        if GIVEN not in self.marks:
            if self.marks.issuperset(inline):
                return "".join(inline)
            self.notes[f"{word!r} is said as it is written: this model reads no phones."] = None
            return word
        for stand_in, known in stretch.phones.items():
            if known == (word, said.phones):
                return _cased(stand_in, word)
        pairs = (f"{a}-{b}" for a in self.stand_ins for b in self.stand_ins)
        free = (s for s in (*self.stand_ins, *pairs) if s not in stretch.phones)
        stand_in = next(free, "")
        if not stand_in:
            raise TextError(
                "Too many words are given in phones at once: cut the text with [pause]."
            )
        stretch.phones[stand_in] = (word, said.phones)
        return _cased(stand_in, word)


def _cased(stand_in: str, word: str) -> str:
    return stand_in.capitalize() if word[:1].isupper() else stand_in


def _joined(stretches: list[Stretch]) -> list[Stretch]:
    """Give what closes a stretch to it, spacing too, and drop stretches that hold nothing."""
    for before, after in itertools.pairwise(stretches):
        if before.text and not before.text[-1:].isspace() and (m := CLOSING.match(after.text)):
            before.text += m[0]
            after.text = after.text[m.end() :]
        rest = after.text.lstrip()
        before.text += after.text[: len(after.text) - len(rest)]
        after.text = rest
    held = [s for s in stretches if s.text.strip() or s.pause_ms is not None or s.ends]
    return held or stretches[:1]


def _sentences(
    stretch: Stretch, prepare: Callable[[str], Script], unsaid: dict[str, None], *, last: bool
) -> list[Sentence]:
    """Normalise one stretch; words that cannot be said go to `unsaid`."""
    if not stretch.text.strip(" \n\t.,;:!?()[]{}\"'“”‘’«»–—-"):
        return []
    try:
        script = prepare(stretch.text)
    except TextError:  # nothing in this part can be said; the others may hold words
        unsaid[stretch.text.strip()] = None
        return []
    unsaid |= dict.fromkeys(script.unsaid)
    return finished([dressed(s, stretch) for s in script.sentences], stretch, last=last)


def finished(made: list[Sentence], stretch: Stretch, *, last: bool) -> list[Sentence]:
    """Let the last sentence of a stretch end as what follows asks for."""
    end = made[-1]
    if stretch.ends:
        end = dataclasses.replace(end, paragraph_end=stretch.ends == "paragraph")
    elif not last:
        end = dataclasses.replace(end, paragraph_end=bool(_BLANK_LINE.search(stretch.text)))
        if not _ENDED.search(stretch.text):
            text = end.text[:-1] + _FULL_STOPS.get(end.text[-1], end.text[-1])
            end = dataclasses.replace(end, text=text, cut=True)
    pause_ms = stretch.pause_ms
    if pause_ms is None and end.cut and end.text[-1] != stretch.text.rstrip()[-1]:
        pause_ms = 0.0  # nobody wrote a comma there
    return [*made[:-1], dataclasses.replace(end, pause_ms=pause_ms)]


def dressed(sentence: Sentence, stretch: Stretch) -> Sentence:
    """Give a sentence its manner, and phones where words stand in for them."""
    text, source = sentence.text, sentence.source
    for stand_in, (word, phones) in sorted(stretch.phones.items(), key=lambda x: -len(x[0])):
        pattern = re.compile(rf"\b{stand_in}\b(?P<of>'s\b)?", re.IGNORECASE)
        spelled = " ".join(phones)
        text = pattern.sub(lambda m, p=spelled: f"{GIVEN}{p}{GIVEN}{m['of'] or ''}", text)  # type: ignore[misc]
        source = pattern.sub(lambda m, w=word: w + (m["of"] or ""), source)  # type: ignore[misc]
    return dataclasses.replace(sentence, text=text, source=source, manner=stretch.manner)


def _passed_on(sentence: Sentence, silent: Stretch) -> Sentence:
    """Let a sentence end as the silent stretch behind it does."""
    pause_ms = sentence.pause_ms
    if silent.pause_ms is not None:
        pause_ms = (pause_ms or 0.0) + silent.pause_ms
    return dataclasses.replace(
        sentence,
        pause_ms=pause_ms,
        paragraph_end=sentence.paragraph_end or silent.ends == "paragraph",
        cut=sentence.cut and silent.ends is None,
    )
