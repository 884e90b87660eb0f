"""Llava: tokenizer, vision encoder and decoder of a bundle, joined."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llava_edge import bundle as bundles
from llava_edge.chat import Chat
from llava_edge.config import BundleConfig
from llava_edge.context import Context, Item
from llava_edge.decoder import Decoder
from llava_edge.devices import Device, choose
from llava_edge.errors import BundleError, PromptError, UsageError
from llava_edge.generation import Piece, generate
from llava_edge.image import PictureSource
from llava_edge.prompt import IMAGE, Message, Picture, Segment, picture_first, render
from llava_edge.sampling import Sampler
from llava_edge.tokenizer import Tokenizer
from llava_edge.vision import ImageEmbeddings, VisionEncoder

DEFAULT_CONTEXT = 4096  # tokens, where the model can take as many

Image = PictureSource | ImageEmbeddings
Images = Image | list[Image] | tuple[Image, ...] | None


def load(
    bundle: Path | str | None = None, device: str = "auto", *, context: int | None = None
) -> "Llava":
    """Load a bundle (the demo's where none is named) to run on `device`: "auto" or "cpu".

        model = load()
        model.answer("What is in the picture?", image="photo.jpg")

    `context` is the most tokens that a conversation may hold. Raises BundleError where the bundle
    is missing, damaged or of another format version.
    """
    path = bundles.find_bundle(bundle)
    config = bundles.read_bundle(path)
    bundles.verify_once(path, config)
    return Llava.from_path(path, config, choose(device), _context(context, config))


@dataclass(frozen=True)
class Llava:
    """A loaded bundle. It answers one prompt at a time, and is not for several threads at once."""

    path: Path
    config: BundleConfig
    device: Device
    tokenizer: Tokenizer
    vision: VisionEncoder
    decoder: Decoder
    context: Context
    stop: frozenset[int]

    @classmethod
    def from_path(cls, path: Path, config: BundleConfig, device: Device, context: int) -> "Llava":
        """Open the graphs of a bundle whose files were checked."""
        if device.graph not in config.devices:
            raise BundleError(
                f"The bundle {path} was exported for {' and '.join(config.devices)} only; export "
                f"it again with --devices {device.graph}."
            )
        tokenizer = Tokenizer.from_file(path / bundles.TOKENIZER_JSON)
        decoder = Decoder(
            path / bundles.decoder_onnx(device.graph),
            path / bundles.WEIGHTS_BIN,
            config.decoder,
            device,
            context=context,
        )
        vision = VisionEncoder(
            path / bundles.vision_onnx(device.graph),
            path / bundles.WEIGHTS_BIN,
            config.vision,
            device,
            hidden_size=config.decoder.hidden_size,
        )
        return cls(
            path=path,
            config=config,
            device=device,
            tokenizer=tokenizer,
            vision=vision,
            decoder=decoder,
            context=Context(decoder),
            stop=_stop_ids(config, tokenizer),
        )

    def stream(
        self,
        prompt: str,
        image: Images = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[Piece]:
        """Answer a prompt piece by piece.

        A picture stands before the words, or where they say `<image>`; several pictures (a list)
        need a place each. Raises PictureError, and PromptError where the prompt does not fit.
        """
        sampler = Sampler(temperature=temperature, top_p=top_p, seed=seed)
        start = time.perf_counter()
        items = self.items(prompt, image)
        self.context.clear()  # the same work, and so the same answer, whatever was asked before
        seconds = time.perf_counter() - start if image is not None else 0.0
        return self.generate(items, sampler, max_tokens=max_tokens, encode_seconds=seconds)

    def answer(
        self,
        prompt: str,
        image: Images = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> str:
        """Answer a prompt: the joined pieces of `stream`."""
        pieces = self.stream(
            prompt, image, max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed
        )
        return "".join(piece.text for piece in pieces)

    def chat(self) -> Chat:
        """Begin a conversation."""
        return Chat(self)

    def encode_image(self, image: PictureSource) -> ImageEmbeddings:
        """Encode a picture once, to be given as `image` to several prompts."""
        return self.vision.encode(image)

    def items(self, prompt: str, image: Images = None, *, first: bool = True) -> list[Item]:
        """Render a user's turn with its pictures; `first=False` continues a conversation."""
        pictures = _as_list(image)
        if len(pictures) == 1:
            prompt = picture_first(prompt, self.config.prompt)
        if (places := prompt.count(IMAGE)) != len(pictures):
            raise PromptError(
                f"The prompt has {places} {IMAGE} places for {len(pictures)} pictures; "
                f"write {IMAGE} once for each picture."
            )
        encoded = [
            picture if isinstance(picture, ImageEmbeddings) else self.vision.encode(picture)
            for picture in pictures
        ]
        messages = [Message("user", prompt)]
        segments = render(messages, self.config.prompt, self.tokenizer, first=first)
        return [item for segment in segments for item in _items(segment, encoded)]

    def generate(
        self, items: list[Item], sampler: Sampler, *, max_tokens: int, encode_seconds: float
    ) -> Iterator[Piece]:
        """Answer rendered items, which grow by the answer; see generation.generate."""
        if max_tokens < 1:
            raise UsageError(f"max_tokens is {max_tokens}; give 1 or more.")
        self._check_fit(items)
        return generate(
            items,
            context=self.context,
            tokenizer=self.tokenizer,
            stop=self.stop,
            sampler=sampler,
            max_tokens=max_tokens,
            encode_seconds=encode_seconds,
        )

    def _check_fit(self, items: list[Item]) -> None:
        """The items must leave room for an answer."""
        if len(items) < self.context.size:
            return
        rows = sum(isinstance(item, tuple) for item in items)
        larger = self.context.size < self.config.decoder.context_length
        raise PromptError(
            f"The prompt takes {len(items):,} tokens ({rows:,} of them image tokens), and the "
            f"context holds {self.context.size:,} with the answer; shorten it or begin a new "
            f"conversation{', or load the bundle with a larger context' if larger else ''}."
        )


def _context(context: int | None, config: BundleConfig) -> int:
    limit = config.decoder.context_length
    if context is None:
        return min(limit, DEFAULT_CONTEXT)
    if not 1 < context <= limit:
        raise UsageError(
            f"The context is {context:,} tokens; give 2 to {limit:,}, which the model can take."
        )
    return context


def _stop_ids(config: BundleConfig, tokenizer: Tokenizer) -> frozenset[int]:
    ids = {token: tokenizer.token_id(token) for token in config.prompt.stop}
    if missing := [token for token, id in ids.items() if id is None]:
        raise BundleError(
            f"The bundle's tokenizer lacks the stop token {missing[0]!r} of its prompt format "
            f"{config.prompt.name}; export it again with another --prompt."
        )
    return frozenset(id for id in ids.values() if id is not None)


def _as_list(image: Images) -> list[Image]:
    if image is None:
        return []
    if isinstance(image, (list, tuple)):
        return list(image)
    return [image]


def _items(segment: Segment, pictures: list[ImageEmbeddings]) -> list[Item]:
    if isinstance(segment, Picture):
        picture = pictures[segment.index]
        return [(picture, row) for row in range(len(picture.rows))]
    return list(segment.ids)
