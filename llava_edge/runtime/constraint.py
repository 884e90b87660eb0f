"""Answers held to a JSON schema, a regular expression or a choice, through llguidance."""

import json
import re
from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llava_edge.core.extras import needed_by
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.options import Options

if TYPE_CHECKING:
    from llguidance import LLTokenizer

# A blank may follow a comma or a colon, as json.dumps writes, and nothing else: white space that is
# free costs tokens, and between any two parts it is a place where an answer need never end.
_JSON = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class Grammars:
    """What a model's constraints share; made of its tokenizer when the first needs it (0.3 s)."""

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int, stop: Collection[int]) -> None:
        self._tokenizer = tokenizer
        # llguidance refuses ids that only the model knows, which pads its vocabulary.
        self._stop = sorted(id for id in stop if tokenizer.token(id) is not None)
        self.vocab_size = vocab_size

    @cached_property
    def vocabulary(self) -> "LLTokenizer":
        """The bytes of each token, in a tree."""
        with needed_by("A constrained answer", "constrain"):
            from llguidance import LLTokenizer
        try:
            return LLTokenizer(self._tokenizer.to_json(), eos_token=self._stop)
        except ValueError as error:  # a kind of tokenizer whose tokens are not known as bytes
            raise LlavaEdgeError(
                f"The bundle's tokenizer cannot be constrained ({_reason(str(error))}); "
                "ask without schema, regex and choices."
            ) from error

    @cached_property
    def drops_space(self) -> bool:
        """Whether the space that a first token begins with is not in the text, as with Llama 2."""
        ids = self.vocabulary.greedy_tokenize(" a")
        return self._tokenizer.decode(ids) == "a"

    def spells(self, text: str) -> bool:
        """Whether there are tokens for a text."""
        try:
            ids = self.vocabulary.greedy_tokenize(text)
            return self.vocabulary.decode_bytes(ids) == text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            return False


class Constraint:
    """What may come next in an answer that a schema, a regex or choices describe as a whole.

    Stop tokens are allowed exactly where the answer may end. Raises UsageError where no answer
    can be held to what the options say, LlavaEdgeError where llguidance is not installed.
    """

    def __init__(self, options: Options, grammars: Grammars) -> None:
        self._vocab_size = grammars.vocab_size
        vocabulary = grammars.vocabulary  # raises where llguidance is not installed
        from llguidance import LLMatcher, LLParserLimits

        _check_choices(options, grammars)
        # The default limits on work keep a mask below some tens of milliseconds.
        limits = LLParserLimits(verbose_errors=False)
        grammar = _grammar(options, drops_space=grammars.drops_space)
        self._matcher = LLMatcher(vocabulary, grammar, log_level=0, limits=limits)
        self._refuse(options)

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which ids [V] may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        # The model may have fewer or more ids than the tokenizer: what is missing is False.
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)

    def push(self, id: int) -> None:
        """Take the id that was chosen among the allowed."""
        self._matcher.consume_token(id)
        self._check()

    @property
    def ended(self) -> bool:
        """Whether nothing can follow: the answer is whole."""
        return self._matcher.is_stopped()

    def _refuse(self, options: Options) -> None:
        """Raise UsageError where not even a first token is allowed."""
        self._matcher.compute_bitmask()
        if not self._matcher.is_error():
            return
        reason = _reason(self._matcher.get_error())
        if options.schema is not None:
            raise UsageError(f"The schema cannot be used ({reason}); change it.")
        if options.regex is not None:
            raise UsageError(
                f"The regex {options.regex!r} cannot be used ({reason}); change it, without "
                "look-around and back-references."
            )
        raise UsageError(f"The choices cannot be used ({reason}); give fewer or others.")

    def _check(self) -> None:
        if self._matcher.is_error():
            raise LlavaEdgeError(
                "The answer cannot be held to its form any longer "
                f"({_reason(self._matcher.get_error())}); simplify the schema or regex."
            )


def _check_choices(options: Options, grammars: Grammars) -> None:
    for choice in options.choices:
        if not grammars.spells(choice):
            raise UsageError(
                f"The choice {choice!r} has characters that the model has no tokens for; "
                "write it with others."
            )


def _grammar(options: Options, *, drops_space: bool) -> str:
    """The answer in llguidance's dialect of Lark."""
    # Models whose tokenizer drops the space know words best by the tokens that begin with one.
    space = '" "? ' if drops_space else ""
    return f"start: {space}form\n{_form(options)}"


def _form(options: Options) -> str:
    if options.schema is not None:
        schema = {"x-guidance": _JSON, **json.loads(str(options.schema))}
        return f"form: %json {json.dumps(schema)}"
    if options.regex is not None:
        from llguidance import regex_to_lark

        try:
            return f"form: /{regex_to_lark(options.regex)}/"  # where \d is 0-9, in ASCII
        except UnicodeEncodeError as error:
            raise UsageError(
                f"The regex {options.regex!r} is no text ({error.reason}); change it."
            ) from error
    # A terminal (in capitals): as a rule, a few thousand choices would be too many.
    return f"form: CHOICE\nCHOICE: {' | '.join(map(json.dumps, options.choices))}"


def _reason(message: str) -> str:
    """The telling part of llguidance's report, which may show the grammar in several lines."""
    if message.startswith("NoExtension"):
        return "nothing that the model can write is allowed by it"
    lines = message.splitlines() or [""]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return re.sub(r"^(at )?\d+\(\d+\): (failed to compile JSON schema: )?", "", [*told, *lines][0])
