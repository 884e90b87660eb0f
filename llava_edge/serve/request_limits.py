"""How much a request may ask for, beyond what Options checks of each value."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llava_edge.serve.wire_errors import WireError


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """How many of each thing a request may have, and how long each may be."""

    stop_strings: int = 16
    stop_length: int = 256  # characters
    schema_bytes: int = 64 * 2**10
    regex_length: int = 4096
    choices: int = 256
    choice_length: int = 1024
    biases: int = 1024

    def check(
        self,
        *,
        n: int | None = None,
        stop: Sequence[str] = (),
        schema: bytes = b"",
        regex: str = "",
        choices: Sequence[str] = (),
        logit_bias: Collection[object] = (),
    ) -> None:
        """Raise WireError for the first that is too many or too long, before any is used."""
        if n not in (None, 1):
            raise WireError(400, "n is not 1; ask again for another answer.", param="n")
        _bound("stop", len(stop), self.stop_strings, "strings")
        _bound("stop", _longest(stop), self.stop_length, "characters in one string")
        _bound("response_format", len(schema), self.schema_bytes, "bytes of schema")
        _bound("structured_outputs", len(regex), self.regex_length, "characters of regex")
        _bound("structured_outputs", len(choices), self.choices, "choices")
        _bound("structured_outputs", _longest(choices), self.choice_length, "characters in one")
        _bound("logit_bias", len(logit_bias), self.biases, "tokens")


def _longest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _bound(param: str, count: int, most: int, unit: str) -> None:
    if count > most:
        what = f"{param} has {count:,} {unit}; give at most {most:,}."
        raise WireError(400, what, code="above_max", param=param)
