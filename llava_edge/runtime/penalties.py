"""Logits changed by what stands in the prompt and in the answer so far, and by bias."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llava_edge.errors import UsageError
from llava_edge.runtime.options import Options


class Penalties:
    """The repetition, frequency and presence penalties of an answer, and its logit bias.

    The repetition penalty (arXiv 1909.05858) knows the prompt's ids and the answer's; the other
    two know the answer's only. Raises UsageError for a bias on an id that the model does not have.
    """

    def __init__(self, options: Options, prompt_ids: Sequence[int], vocab_size: int) -> None:
        self._repetition = options.repetition_penalty
        self._frequency = options.frequency_penalty
        self._presence = options.presence_penalty
        self._bias_ids = list(options.logit_bias)
        self._bias = np.array(list(options.logit_bias.values()), dtype=np.float32)
        if self._bias_ids and (largest := max(self._bias_ids)) >= vocab_size:
            raise UsageError(
                f"logit_bias names the id {largest}, but the model has {vocab_size:,} tokens; "
                f"give ids up to {vocab_size - 1}."
            )
        self._seen = np.zeros(vocab_size, dtype=bool)  # in prompt or answer
        self._seen[list(prompt_ids)] = True
        self._answered = np.zeros(vocab_size, dtype=np.float32)  # how often

    def __bool__(self) -> bool:
        """Whether any of them is asked for."""
        neutral = self._repetition == 1 and self._frequency == 0 and self._presence == 0
        return not neutral or bool(self._bias_ids)

    def push(self, id: int) -> None:
        """Take one id of the answer."""
        self._seen[id] = True
        self._answered[id] += 1

    def __call__(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The changed logits [V], a copy."""
        changed = logits.copy()
        if self._repetition != 1:
            ids = np.flatnonzero(self._seen)
            before = changed[ids]
            changed[ids] = np.where(
                before < 0, before * self._repetition, before / self._repetition
            )
        if self._frequency or self._presence:
            ids = np.flatnonzero(self._answered > 0)
            changed[ids] -= self._frequency * self._answered[ids] + self._presence
        changed[self._bias_ids] += self._bias
        return changed
