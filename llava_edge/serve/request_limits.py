"""How much a request may ask for, beyond the range that Options gives each value."""

from collections.abc import Sequence
from dataclasses import dataclass

from llava_edge.runtime.options import Options
from llava_edge.serve.wire_errors import WireError


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """How many of each thing a request may have, and how many characters each may be long."""

    stop_strings: int = 16
    stop_length: int = 256
    schema_length: int = 64 * 2**10
    regex_length: int = 4096
    choices: int = 256
    choice_length: int = 1024
    biases: int = 1024


REQUEST_LIMITS = RequestLimits()


def check_options(options: Options, limits: RequestLimits = REQUEST_LIMITS) -> None:
    """Raise WireError for the first option of which there is too much, before any is used."""
    _bound("stop", len(options.stop), limits.stop_strings, "strings")
    _bound("stop", _longest(options.stop), limits.stop_length, "characters in one string")
    _bound("schema", len(str(options.schema or "")), limits.schema_length, "characters")
    _bound("regex", len(options.regex or ""), limits.regex_length, "characters")
    _bound("choices", len(options.choices), limits.choices, "strings")
    _bound("choices", _longest(options.choices), limits.choice_length, "characters in one string")
    _bound("logit_bias", len(options.logit_bias), limits.biases, "tokens")


def _longest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)


def _bound(name: str, count: int, most: int, unit: str) -> None:
    if count > most:
        what = f"{name} has {count:,} {unit}; give at most {most:,}."
        raise WireError(400, what, code="above_max", param=name)
