"""The tokenizer of a bundle, and text that is held back until its characters are whole."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken
from tokenizers import Tokenizer as _Tokenizer

from llava_edge.errors import BundleError

_UNFINISHED = "\ufffd"  # what bytes of a character that is not whole decode to
_SPACE = (  # Unicode's White_Space, a little less than what str.strip takes
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

_Place = Literal["beginning", "special", "words"]  # what a text comes after


class Tokenizer:
    """`tokenizer.json` behind the few calls that prompts and answers need."""

    def __init__(self, tokenizer: _Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = tokenizer.get_added_tokens_decoder().items()
        self._special = {token.content: id for id, token in added if token.special}
        self._added = dict(added)
        longest_first = sorted(self._special, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._literal: dict[_Place, _Tokenizer] = {}

    @classmethod
    def from_file(cls, path: Path) -> "Tokenizer":
        """Read a `tokenizer.json`; raises BundleError where it is broken."""
        try:
            return cls(_Tokenizer.from_file(str(path)))
        except Exception as error:  # tokenizers raises nothing narrower
            raise BundleError(
                f"{path} cannot be read as a tokenizer ({error}); export the bundle again."
            ) from error

    def encode(self, run: Iterable[tuple[str, bool]], *, after: int | None = None) -> list[int]:
        """Encode a run of (words, trusted), joined; no token is put before or after them.

        Special tokens count as such in trusted words only; in others they are plain text. Where
        there are none of those, the ids are the ones of the joined string. `after` is the id that
        the run continues; without one it begins a text, where Llama's tokenizers put a space.
        """
        words = list(run)
        if after in self._added:  # which always is one id, wherever it stands
            return self.encode([(self._added[after].content, True), *words])[1:]
        if after is not None:
            return self._encode_parts(words, "words")
        joined = "".join(text for text, _ in words)
        trusted = sum(len(self._pattern.findall(text)) for text, is_trusted in words if is_trusted)
        if len(self._pattern.findall(joined)) == trusted:
            return list(self._tokenizer.encode(joined, add_special_tokens=False).ids)
        return self._encode_parts(words, "beginning")

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def said(self, ids: Sequence[int]) -> str:
        """The text of an answer, without a character at its end that is not whole."""
        return self.decode(ids).rstrip(_UNFINISHED)

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary, or None."""
        id = self._tokenizer.token_to_id(token)
        return None if id is None else int(id)

    def token(self, id: int) -> str | None:
        """The token that an id stands for, or None for an id that the tokenizer does not know."""
        token = self._tokenizer.id_to_token(id)
        return None if token is None else str(token)

    def to_json(self) -> str:
        """What a `tokenizer.json` of it holds."""
        return str(self._tokenizer.to_str())

    def _encode_parts(self, words: Iterable[tuple[str, bool]], place: _Place) -> list[int]:
        """Split at the trusted special tokens, encode what lies between as plain text."""
        ids: list[int] = []
        before: AddedToken | None = None
        for text, special in self._split(words):
            if before is not None and before.rstrip:  # it takes the white space beside it
                text = text.lstrip(_SPACE)
            if special is not None and special.lstrip:
                text = text.rstrip(_SPACE)
            ids += self._encode_literally(text, place)
            if special is not None:
                ids.append(self._special[special.content])
            before, place = special, "special"
        return ids

    def _split(self, words: Iterable[tuple[str, bool]]) -> Iterator[tuple[str, AddedToken | None]]:
        """Plain texts, each with the trusted special token that ends it; the last with none."""
        plain = ""
        for text, is_trusted in words:
            end = 0
            for match in self._pattern.finditer(text) if is_trusted else ():
                special = self._added[self._special[match.group()]]
                yield plain + text[end : match.start()], special
                plain, end = "", match.end()
            plain += text[end:]
        yield plain, None

    def _encode_literally(self, text: str, place: _Place) -> list[int]:
        if not text:
            return []
        if place not in self._literal:
            data = self._tokenizer.to_str()
            if place != "beginning":  # no space that belongs to the beginning of a text only
                data = re.sub(r'("prepend_scheme":\s*)"first"', r'\1"never"', data)
            if place == "words":  # nor one that every text between special tokens gets
                data = re.sub(r'("prepend_scheme":\s*)"always"', r'\1"never"', data)
                data = re.sub(r'("prepend":\s*)"[^"]*"', r'\1""', data)
                data = re.sub(r'("add_prefix_space":\s*)true', r"\1false", data)
            self._literal[place] = _Tokenizer.from_str(data)
            self._literal[place].encode_special_tokens = True
        return list(self._literal[place].encode(text, add_special_tokens=False).ids)


class TextStream:
    """Ids in, text out as soon as it is certain; the pieces joined are the text of all ids.

    Ids are decoded together with the ones just before them, since decoders drop the space at the
    start of a text, and are held back while they end inside a character.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []  # ids whose text is already out
        self._held: list[int] = []

    def push(self, id: int) -> str:
        """Take one id; return the text that it completes, which may be empty."""
        self._held.append(id)
        text = self._new_text()
        if not text or text.endswith(_UNFINISHED):
            return ""
        self._context, self._held = self._held, []
        return text

    def flush(self) -> str:
        """Return what is still held, without a character that will never be whole."""
        text = self._new_text().rstrip(_UNFINISHED)
        self._context, self._held = [], []
        return text

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._context)
        return self._tokenizer.decode(self._context + self._held)[len(before) :]
