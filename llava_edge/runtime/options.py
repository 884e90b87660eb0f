"""How an answer is drawn, held to a form, and ended."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from msgspec import Meta

from llava_edge.core.strict import PositiveInt
from llava_edge.errors import UsageError
from llava_edge.runtime.arguments import checked, refusal

_HUGE = 1e30  # logits are float32, which end at 3e38
_DAY = 86_400  # seconds; a timer of Python's for 50 days fails on Windows

_Index = Annotated[int, Meta(ge=0, description="a whole number of 0 or more")]
_Likeliest = Annotated[int, Meta(ge=0, le=20, description="a whole number from 0 to 20")]
_Seconds = Annotated[float, Meta(gt=0, le=_DAY, description=f"seconds, above 0 and up to {_DAY:,}")]
_Temperature = Annotated[float, Meta(ge=0, lt=_HUGE, description="0 or a larger number")]
_TopP = Annotated[float, Meta(gt=0, le=1, description="a number above 0 and up to 1")]
_MinP = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
_Divisor = Annotated[float, Meta(ge=0.01, le=100, description="a number from 0.01 to 100")]
_Penalty = Annotated[float, Meta(ge=-2, le=2, description="a number from -2 to 2")]
_Bias = Annotated[
    Mapping[_Index, Annotated[float, Meta(gt=-_HUGE, lt=_HUGE)]],
    Meta(description="a mapping from ids of tokens to finite numbers, such as {42: -100.0}"),
]
_Words = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...],
    Meta(description="a tuple of strings that are not empty, such as ('one', 'two')"),
]
_Schema = Annotated[
    Mapping[str, Any] | Annotated[str, Meta(min_length=1)],
    Meta(description="a JSON schema, as a dict or as text"),
]
_Regex = Annotated[str, Meta(min_length=1, description="a regular expression")]
_WhenFull = Annotated[Literal["error", "shift"], Meta(description="'error' or 'shift'")]
_Flag = Annotated[bool, Meta(description="True or False")]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an answer is drawn, held to a form, and ended.

        model.answer("What is this?", "photo.jpg", Options(temperature=0.7, top_p=0.9, seed=1))
        model.answer("Is there a dog?", "photo.jpg", Options(choices=("yes", "no")))

    Options cannot be changed, and may be shared, compared, and used as keys. Raises UsageError for
    a value of another type or out of its range, and for options that contradict one another.

    Where an answer ends:
    - max_tokens: after this many tokens.
    - timeout: after this many seconds, at most a day; what was said by then is the answer.
    - stop: before any of these strings, which are not part of it.

    How a token is drawn:
    - temperature: 0 takes the likeliest token, whatever the next four say; up from there, less
      likely ones are drawn more often.
    - top_k: among this many of the likeliest; 0 for all.
    - top_p: among the likeliest that together have this probability.
    - min_p: among those that are at least this probable, the likeliest being 1.
    - seed: the same seed draws the same answer.
    - repetition_penalty: divides the logits of what stands in prompt or answer (arXiv
      1909.05858), 0.01 to 100; 1 changes nothing.
    - frequency_penalty: is subtracted for each time that a token was answered, -2 to 2.
    - presence_penalty: is subtracted once from each token that was answered, -2 to 2.
    - logit_bias: is added to the logits of these ids; -100 bans a token.
    - logprobs: report the log probability of each token, and of this many likeliest, 0 to 20.

    What form it has (at most one of these):
    - schema: JSON that this JSON schema allows, given as a dict or as text, and kept as text.
    - regex: what this regular expression matches as a whole.
    - choices: one of these strings.

    How the conversation is read:
    - image_tokens: keep this many of each picture's tokens, the most diverse ones.
    - when_full: whether a full context is an "error", or a chat forgets its oldest turns
      ("shift").
    - speculate: guess what stood in the conversation before, and check several tokens at once.
    """

    max_tokens: PositiveInt = 512
    timeout: _Seconds | None = None
    stop: _Words = ()

    temperature: _Temperature = 0.0
    top_k: _Index = 0
    top_p: _TopP = 1.0
    min_p: _MinP = 0.0
    seed: _Index | None = None

    repetition_penalty: _Divisor = 1.0
    frequency_penalty: _Penalty = 0.0
    presence_penalty: _Penalty = 0.0
    logit_bias: _Bias = field(default_factory=dict)
    logprobs: _Likeliest | None = None

    schema: _Schema | None = None
    regex: _Regex | None = None
    choices: _Words = ()

    image_tokens: PositiveInt | None = None
    when_full: _WhenFull = "error"
    speculate: _Flag = False

    def __post_init__(self) -> None:
        for name, annotation in _annotations().items():
            object.__setattr__(self, name, checked(name, getattr(self, name), annotation))
        object.__setattr__(self, "logit_bias", _LogitBias(self.logit_bias))
        if self.schema is not None:
            object.__setattr__(self, "schema", _json_object(self.schema))
        forms = {"schema": self.schema, "regex": self.regex, "choices": self.choices or None}
        given = [name for name, form in forms.items() if form is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are given together; give one of them.")

    @property
    def constrained(self) -> bool:
        """Whether the answer is held to a form."""
        return self.schema is not None or self.regex is not None or bool(self.choices)


@cache
def _annotations() -> dict[str, Any]:
    return get_type_hints(Options, include_extras=True)


class _LogitBias(Mapping[int, float]):
    """A mapping that cannot be changed, so that it has a hash."""

    def __init__(self, biases: Mapping[int, float]) -> None:
        self._biases = dict(biases)

    def __getitem__(self, id: int) -> float:
        return self._biases[id]

    def __iter__(self) -> Iterator[int]:
        return iter(self._biases)

    def __len__(self) -> int:
        return len(self._biases)

    def __hash__(self) -> int:
        return hash(frozenset(self._biases.items()))

    def __repr__(self) -> str:
        return repr(self._biases)


def _json_object(schema: Mapping[str, Any] | str) -> str:
    """A schema as JSON text, which cannot be changed; raises UsageError where it is no object."""
    try:
        content = json.loads(schema if isinstance(schema, str) else json.dumps(dict(schema)))
        text = json.dumps(content)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"The schema is not JSON ({error}); give a JSON schema.") from error
    if not isinstance(content, dict):
        raise UsageError(f"The schema is the JSON {text}; give an object.")
    return text


DEFAULTS = Options()


def checked_options(options: object) -> Options:
    """The options; raises UsageError for anything else."""
    if not isinstance(options, Options):
        raise refusal("options", options, "llava_edge.Options(...)")
    return options
