"""Tokens and their bytes in log probabilities."""

import pytest
from tokenizer_kinds import byte_level, llama

from llava_edge.core.tokenizer import Tokenizer
from llava_edge.runtime.sampling import TokenLogprob
from llava_edge.serve.wire_logprobs import TokenTexts

CORPUS = ["The cat sat on the mat.", "A dog and a cat, a dog and a cat."] * 3
WORDS = " The cat sat: 3 dogs, \u00e9\u4e2d\U0001f600\n\tend"
KINDS = {
    "byte level": lambda: byte_level(["<s>"], CORPUS),
    "llama, prepended": lambda: llama("prepend", ["<s>"], CORPUS),
    "llama, first": lambda: llama("first", ["<s>"], CORPUS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_tokens_are_those_of_their_text(kind: str) -> None:
    tokenizer = Tokenizer(KINDS[kind]())
    before = tokenizer.encode([("a", False)])
    ids = tokenizer.encode([("a" + WORDS, False)])
    assert ids[: len(before)] == before
    texts = TokenTexts(tokenizer, stop=())
    tokens = [TokenLogprob(id, -0.5, ((id, -0.5),)) for id in ids[len(before) :]]
    found = texts.logprobs(tokens)
    assert b"".join(bytes(token["bytes"]) for token in found).decode() == WORDS
    assert any("\ufffd" in token["token"] for token in found)  # parts of characters
    for token in found:
        assert token["top_logprobs"] == [
            {"token": token["token"], "logprob": -0.5, "bytes": token["bytes"]}
        ]


def test_what_ends_an_answer_is_no_part_of_it() -> None:
    tokenizer = Tokenizer(byte_level(["<s>", "</s>"], CORPUS))
    stop, other = (tokenizer.token_id(token) for token in ("</s>", "<s>"))
    assert stop is not None and other is not None
    tokens = [TokenLogprob(id, -1.0, ((stop, -2.0),)) for id in (other, stop)]
    (found,) = TokenTexts(tokenizer, stop={stop}).logprobs(tokens)
    assert found["token"] == "<s>"
    assert found["top_logprobs"][0]["token"] == "</s>"
