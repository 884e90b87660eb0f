"""What can go wrong for a reason the user can mend, each said in one sentence.

LlavaEdgeError
├── UsageError         the call itself is wrong (the command line exits with 2)
├── PictureError       a file that is no picture, is broken, or is too large
│   └── LargePictureError
├── PromptError        a prompt that does not fit or names pictures that are not there
│   └── LongPromptError
├── BundleError        a bundle that is missing, damaged or of another version
├── DeviceError        a GPU that is missing, does not run a bundle, or fails while it computes
├── CheckpointError    a checkpoint that cannot be exported
│   └── OriginalError  that transformers cannot open, so nothing is compared with it
├── StateError         a saved conversation that is damaged or belongs to another bundle
├── QualityError       a bundle that is further from its original than allowed
├── RecordError        a LLaVA record that is broken or lacks its picture
└── TrainingError      a recipe that cannot be trained
"""

from typing import Any


class LlavaEdgeError(Exception):
    """What was given, what was expected and what to do, in one sentence."""


class UsageError(LlavaEdgeError):
    """The call contradicts itself or leaves out what it needs."""


class PictureError(LlavaEdgeError):
    """The file is no picture, or a broken or an unreasonably large one."""


class LargePictureError(PictureError):
    """The picture has more pixels than are read."""


class PromptError(LlavaEdgeError):
    """The prompt does not fit the context, or its pictures do not match."""


class LongPromptError(PromptError):
    """The prompt leaves no room for an answer in the context."""


class BundleError(LlavaEdgeError):
    """The bundle is missing, damaged, or written in another format version."""


class DeviceError(LlavaEdgeError):
    """The device is missing, cannot run the bundle, or failed while it computed."""


class CheckpointError(LlavaEdgeError):
    """The checkpoint lacks tensors, has ones that do not fit, or is of an unsupported kind."""


class OriginalError(CheckpointError):
    """transformers cannot open the checkpoint, so nothing can be compared with it."""


class StateError(LlavaEdgeError):
    """The saved conversation is damaged, of another bundle or version, or too long."""


class QualityError(LlavaEdgeError):
    """The bundle differs from the original more than its limits allow.

    `config` is its BundleConfig, whose `quality` says how far.
    """

    def __init__(self, message: str, config: Any) -> None:
        super().__init__(message)
        self.config = config


class RecordError(LlavaEdgeError):
    """A record is no LLaVA sample, or lacks its picture; `problem` is the kind, for counting."""

    def __init__(self, message: str, problem: str = "not a LLaVA sample") -> None:
        super().__init__(message)
        self.problem = problem


class TrainingError(LlavaEdgeError):
    """The recipe cannot be trained."""
