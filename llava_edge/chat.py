"""Chat: a conversation whose KV cache is continued, so that only what is new is prefilled."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llava_edge.context import Item
from llava_edge.generation import Piece
from llava_edge.sampling import Sampler

if TYPE_CHECKING:
    from llava_edge.model import Images, Llava


class Chat:
    """A conversation with a model; each turn may bring pictures.

        chat = model.chat()
        chat.answer("What is this?", image="photo.jpg")
        chat.answer("And what colour is it?")

    Several conversations may take turns on one model; each then reads its history anew.
    """

    def __init__(self, model: "Llava") -> None:
        self._model = model
        self._items: list[Item] = []

    def stream(
        self,
        prompt: str,
        image: "Images" = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[Piece]:
        """Answer the next turn piece by piece; takes and raises what Llava.stream does.

        When the iteration is given up, what was said so far stays in the conversation; before the
        first piece, or where an error is raised, the turn leaves no trace.
        """
        model = self._model
        sampler = Sampler(temperature=temperature, top_p=top_p, seed=seed)
        start = time.perf_counter()
        turn = model.items(prompt, image, first=not self._items)
        items = [*self._items, *self._end_of_answer(), *turn]
        seconds = time.perf_counter() - start if image is not None else 0.0
        pieces = model.generate(items, sampler, max_tokens=max_tokens, encode_seconds=seconds)
        return self._keep(items, pieces)

    def answer(
        self,
        prompt: str,
        image: "Images" = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> str:
        """Answer the next turn: the joined pieces of `stream`."""
        pieces = self.stream(
            prompt, image, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed
        )
        return "".join(piece.text for piece in pieces)

    def reset(self) -> None:
        """Begin anew, without the turns so far."""
        self._items = []

    def _keep(self, items: list[Item], pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self._items = items  # grows by the answer's ids
            yield piece

    def _end_of_answer(self) -> list[int]:
        """What the prompt format writes after the answer before."""
        if not self._items:
            return []
        return self._model.tokenizer.encode([(self._model.config.prompt.assistant_suffix, True)])
