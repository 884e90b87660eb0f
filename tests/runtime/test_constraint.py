"""Whatever the model says, the answer has the form that was asked for."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from llava_edge.core.tokenizer import TextStream, Tokenizer
from llava_edge.errors import LlavaEdgeError, UsageError
from llava_edge.runtime.constraint import Constraint, Grammars
from llava_edge.runtime.options import Options
from llava_edge.runtime.sampling import Sampler

V = tiny.VOCAB_SIZE
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue", "c\u00f4t\u00e9"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        "inside": {"type": "object", "properties": {"sure": {"type": "boolean"}}},
    },
    "required": ["colour", "count", "words"],
    "additionalProperties": False,
}


def llama_2() -> tokenizers.Tokenizer:
    """Words begin with a space, which the decoder drops where an answer begins with one."""
    plain = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Metaspace()
    plain.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=V - 6,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=[chr(code) for code in range(32, 127)],
        show_progress=False,
    )
    plain.train_from_iterator(tiny.SENTENCES, trainer)
    return plain


class Vocabulary:
    """A tokenizer with what constraints share of it."""

    def __init__(self, plain: tokenizers.Tokenizer, *stop: str, size: int = V) -> None:
        self.tokenizer = Tokenizer(plain)
        self.size = size
        self.stop = frozenset(plain.token_to_id(token) for token in stop)
        self.grammars = Grammars(self.tokenizer, vocab_size=size, stop=self.stop)

    def constraint(self, **form: Any) -> Constraint:
        return Constraint(Options(**form), self.grammars)

    def answer(self, seed: int, **form: Any) -> str:
        """What is drawn where the model has no idea."""
        options = Options(temperature=1 + seed % 3, seed=seed, **form)
        constraint = Constraint(options, self.grammars)
        sampler = Sampler(options, (), vocab_size=self.size)
        random = np.random.default_rng(seed)
        text = TextStream(self.tokenizer)
        answer = ""
        while not constraint.ended:
            logits = random.normal(size=self.size).astype(np.float32)
            id = sampler(logits, constraint.allowed())
            constraint.push(id)
            if id in self.stop:
                break
            answer += text.push(id)
        return answer + text.flush()


@pytest.fixture(scope="module", params=["byte level", "llama 2"])
def vocabulary(request: pytest.FixtureRequest) -> Iterator[Vocabulary]:
    if request.param == "llama 2":
        yield Vocabulary(llama_2(), "</s>")
    else:
        yield Vocabulary(tiny.tokenizer(), "<|im_end|>", "<|endoftext|>")


@pytest.fixture(scope="module")
def chatml() -> Vocabulary:
    return Vocabulary(tiny.tokenizer(), "<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("seed", range(30))
def test_a_schema_is_kept(chatml: Vocabulary, seed: int) -> None:
    text = chatml.answer(seed, schema=SCHEMA if seed % 2 else json.dumps(SCHEMA))
    answer = json.loads(text)
    assert {"colour", "count", "words"} <= set(answer) <= set(SCHEMA["properties"])  # type: ignore[call-overload]
    assert answer["colour"] in ("red", "blue", "c\u00f4t\u00e9")
    assert answer["count"] in range(100)
    assert len(answer["words"]) <= 3
    assert all(isinstance(word, str) and len(word) <= 8 for word in answer["words"])
    assert answer.get("inside", {}).get("sure", True) in (True, False)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "regex",
    [
        r"\d{4}-\d\d-\d\d",
        r"(yes|no|yes, but .{3,9})",
        r"^[A-Z][a-z ]{0,12}[.!?]$",
        r'a/b "[\\/\n]{1,3}"|c*d{3}',
    ],
)
def test_a_regex_is_kept(vocabulary: Vocabulary, regex: str, seed: int) -> None:
    assert re.fullmatch(regex, vocabulary.answer(seed, regex=regex))


@pytest.mark.parametrize("seed", range(20))
def test_a_choice_is_made(vocabulary: Vocabulary, seed: int) -> None:
    choices = ("yes", "yes, it is", "no", 'a "cat"', "1/2 \\ 3", "<s>")
    assert vocabulary.answer(seed, choices=choices) in choices


def test_every_choice_can_be_made(vocabulary: Vocabulary) -> None:
    choices = ("yes", "yes, it is", "no")
    assert {vocabulary.answer(seed, choices=choices) for seed in range(60)} == set(choices)


def test_thousands_of_choices(chatml: Vocabulary) -> None:
    choices = tuple(f"choice {number}" for number in range(5000))
    assert chatml.answer(0, choices=choices) in choices


def test_stop_tokens_are_allowed_where_the_answer_may_end(chatml: Vocabulary) -> None:
    constraint = chatml.constraint(regex="a{2,4}")
    (letter,) = chatml.tokenizer.encode([("a", False)])
    for may_end in (False, False, True, True):
        assert not constraint.ended
        ids = np.flatnonzero(constraint.allowed())
        assert chatml.stop <= set(ids) if may_end else not chatml.stop & set(ids)
        constraint.push(letter)
    assert constraint.ended
    assert set(np.flatnonzero(constraint.allowed())) == chatml.stop


def test_a_stop_token_ends(chatml: Vocabulary) -> None:
    constraint = chatml.constraint(regex="a*")
    constraint.push(min(chatml.stop))
    assert constraint.ended


def test_words_may_begin_with_the_space_that_is_dropped() -> None:
    vocabulary = Vocabulary(llama_2(), "</s>")
    allowed = np.flatnonzero(vocabulary.constraint(choices=("table", "cat")).allowed())
    spaced = vocabulary.tokenizer.token_id("\u2581table")
    assert spaced is not None and spaced in allowed
    assert vocabulary.tokenizer.decode([spaced]) == "table"


@pytest.mark.parametrize("size", [V, V - 20])
def test_only_ids_of_tokenizer_and_model_are_allowed(size: int) -> None:
    vocabulary = Vocabulary(tiny.tokenizer(), "<|im_end|>", size=size)
    allowed = vocabulary.constraint(regex=r"(?s:.+)").allowed()
    special = tiny.SPECIAL_TOKENS["chatml"]
    ids = [vocabulary.tokenizer.token_id(token) for token in special]
    assert allowed.shape == (size,)
    assert allowed.sum() > 100
    assert not allowed[ids].any()
    assert not allowed[tiny.tokenizer().get_vocab_size() :].any()


def test_json_has_no_white_space_to_loop_on(chatml: Vocabulary) -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "maxItems": 4}
    for seed in range(20):
        assert not re.search(r"\s\s|[\n\t]|[\[\s]\]", chatml.answer(seed, schema=schema)[1:])


def test_a_schema_may_say_otherwise(chatml: Vocabulary) -> None:
    schema = {"const": [1, 2], "x-guidance": {"whitespace_flexible": False}}
    assert {chatml.answer(seed, schema=schema) for seed in range(10)} == {"[1,2]"}


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"schema": "{"}, r"The schema is not JSON \(.*\); give a JSON schema"),
        ({"schema": {"a": {1}}}, r"The schema is not JSON \(.*\); give a JSON schema"),
        ({"schema": "[1]"}, r"The schema is the JSON \[1\]; give an object"),
        ({"schema": {"type": "colour"}}, r"The schema cannot be used \(Invalid type: colour\);"),
        ({"schema": {"uniqueItems": True}}, r"The schema cannot be used \(Unimplemented keys:.*\)"),
        ({"schema": {"type": "string", "pattern": "(a"}}, r"The schema cannot be used \(.*\)"),
        ({"regex": "(yes"}, r"The regex '\(yes' cannot be used \(unclosed group\); change it"),
        ({"regex": "(?=a)b"}, r"The regex .* cannot be used \(look-around, .*\); change it"),
        ({"regex": r"[^\s\S]"}, r"The regex .* cannot be used \(nothing that .*\); change it"),
        ({"regex": "\ud800"}, r"The regex .* is no text \(.*\); change it"),
        ({"choices": ("yes", "\ud800")}, r"The choice '\\ud800' has characters that .*; write"),
    ],
)
def test_forms_that_no_answer_can_have(chatml: Vocabulary, form: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=f"^{told}") as error:
        chatml.constraint(**form)
    assert "\n" not in str(error.value)


def test_a_choice_that_cannot_be_spelled() -> None:
    with pytest.raises(UsageError, match="The choice 'caf\u6f22' has characters"):
        Vocabulary(llama_2(), "</s>").constraint(choices=("cat", "caf\u6f22"))


def test_a_regex_that_explodes_ends_in_a_sentence(chatml: Vocabulary) -> None:
    constraint = chatml.constraint(regex="(?:a?){5000}a{5000}")
    (letter,) = chatml.tokenizer.encode([("a", False)])
    with pytest.raises(LlavaEdgeError, match=r"held to its form any longer \(.*\); simplify") as no:
        for _ in range(1000):
            assert constraint.allowed()[letter]
            constraint.push(letter)
    assert "\n" not in str(no.value)


def test_a_tokenizer_whose_bytes_are_not_known() -> None:
    plain = llama_2()
    plain.decoder = decoders.Metaspace()
    with pytest.raises(LlavaEdgeError, match=r"cannot be constrained .*; ask without schema"):
        Vocabulary(plain, "</s>").constraint(regex="a")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(LlavaEdgeError, match=r"pip install '\.\[constrain\]'"):
        Vocabulary(tiny.tokenizer(), "<|im_end|>").constraint(regex="a")
