"""The errors that voxkit raises on purpose: one sentence each, saying what to do.

VoxkitError              what the user can put right; the command line prints it and exits 1
├── TextError            nothing speakable in the text, or markup that cannot be read
├── AudioError           a sound file that cannot be read, written or used as a reference
├── VoiceError           an unknown, damaged or incompatible voice
├── ModelError           an unknown, damaged or incompatible model
│   └── SpecError        a config.json that does not describe a model; names the bad entry
├── OutputError          a place that cannot be written, or a file that would be overwritten
└── TrainingError        a recipe or corpus that cannot be trained on

Interrupted              no mistake: speech that was stopped, and how far it had come
"""


class VoxkitError(Exception):
    """Base of every error that a user can put right."""


class TextError(VoxkitError):
    """Text that holds nothing to say, or that cannot be understood."""


class AudioError(VoxkitError):
    """A sound that cannot be read, written or used."""


class VoiceError(VoxkitError):
    """A voice that is unknown, damaged or made for another model."""


class ModelError(VoxkitError):
    """A model that is unknown, damaged or incompatible."""


class SpecError(ModelError):
    """A model description with an unknown, missing or ill-typed entry."""


class OutputError(VoxkitError):
    """A place that cannot be written, or a file that would be overwritten."""


class TrainingError(VoxkitError):
    """A recipe or a corpus that cannot be trained on."""


class Interrupted(Exception):
    """Speech that was stopped before its end; `spoken_text` is what had been said by then."""

    def __init__(self, spoken_text: str) -> None:
        super().__init__(f"Stopped after: {spoken_text}" if spoken_text else "Stopped.")
        self.spoken_text = spoken_text
