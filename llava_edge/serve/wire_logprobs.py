"""Log probabilities of tokens as OpenAI's clients read them."""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from llava_edge.core.tokenizer import Tokenizer
from llava_edge.runtime.sampling import TokenLogprob

_UNFINISHED = "\ufffd"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how SentencePiece writes a byte


class TokenTexts:
    """What the tokens of a model stand for; `stop` are the ids that end an answer."""

    def __init__(self, tokenizer: Tokenizer, stop: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._anchor = tokenizer.encode([("a", False)])  # after which a space stays
        self._before = len(tokenizer.decode(self._anchor))
        self._of_id = lru_cache(2**16)(self._read)

    def logprobs(self, tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
        """The `content` of OpenAI's logprobs; what ends an answer is no part of it."""
        return [
            {
                **self._entry(token.id, token.logprob),
                "top_logprobs": [self._entry(*likely) for likely in token.likeliest],
            }
            for token in tokens
            if token.id not in self._stop
        ]

    def _entry(self, id: int, logprob: float) -> dict[str, Any]:
        text, data = self._of_id(id)
        return {"token": text, "logprob": logprob, "bytes": list(data)}

    def _read(self, id: int) -> tuple[str, bytes]:
        """A token's text and bytes; these alone are right for a part of a character."""
        text = self._tokenizer.decode([*self._anchor, id])[self._before :]
        written = self._tokenizer.token(id) or ""
        if text and _UNFINISHED not in text:
            return text, text.encode()
        data = _bytes_of(written)
        if not text:  # a special token
            return written, written.encode()
        return data.decode(errors="replace"), data


def _bytes_of(written: str) -> bytes:
    """The bytes of a token that is no whole character, as the vocabulary writes it."""
    if match := _BYTE.fullmatch(written):
        return bytes([int(match[1], 16)])
    if all(character in _BYTE_LEVEL for character in written):
        return bytes(_BYTE_LEVEL[character] for character in written)
    return written.encode()


def _byte_level() -> dict[str, int]:
    """GPT-2's characters for bytes: themselves where they can be seen, else from U+0100 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    shown = {chr(byte): byte for byte in seen}
    return shown | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


_BYTE_LEVEL = _byte_level()
