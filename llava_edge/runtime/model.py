"""Llava: tokenizer, vision encoder and decoder of a bundle, joined."""

import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from llava_edge.core import bundle as bundles
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.machine import release_unused
from llava_edge.core.picture import PictureSource
from llava_edge.core.prompt import IMAGE, Message, Picture, Segment, picture_first, render
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import BundleError, PromptError
from llava_edge.runtime.answer import Answer, Pieces, Vocabulary
from llava_edge.runtime.chat import Chat
from llava_edge.runtime.constraint import Constraint, Grammars
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.device_choice import choose
from llava_edge.runtime.devices.call_queue import gpu_thread
from llava_edge.runtime.devices.device import Device, candidates
from llava_edge.runtime.devices.onnx_session import prepare
from llava_edge.runtime.expected_memory import expected_memory, fitting_context, free_memory
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.options import DEFAULTS, Options
from llava_edge.runtime.prefix_cache import Item, PrefixCaches
from llava_edge.runtime.stream import Stream
from llava_edge.runtime.vision_encoder import IMAGE_CACHE, ImageEmbeddings, VisionEncoder

Image = PictureSource | ImageEmbeddings
Images = Image | list[Image] | tuple[Image, ...] | None


def load(
    bundle: Path | str | None = None,
    device: str = "auto",
    *,
    context: int | None = None,
    image_cache: int = IMAGE_CACHE,
    gpu_memory: int | None = None,
) -> "Llava":
    """Load a bundle (the demo's where none is named) to run on `device`.

        model = load()
        model.answer("What is in the picture?", image="photo.jpg")

    "auto" takes a GPU where one computes the whole bundle correctly, else the CPU; `model.device`
    says which, and `model.notes` why. `context` is the most tokens that a conversation may hold, by
    default 4,096 where model and memory allow it. `image_cache` bytes of image embeddings are
    remembered. `gpu_memory` is the most bytes to take on a GPU, by default what is free there.
    Raises BundleError where the bundle is missing, damaged or of another format version, UsageError
    and LlavaEdgeError where it cannot run as asked.
    """
    path = bundles.find_bundle(bundle)
    config = bundles.read_bundle(path)
    devices = candidates(device, config.devices)
    bundles.verify_once(path, config)

    def open_on(device: Device) -> Llava:
        prepare(device)
        size, note = fitting_context(config, context, device, gpu_memory)
        notes = (note,) if note else ()
        return Llava.from_path(
            path, config, device, size, image_cache=image_cache, gpu_memory=gpu_memory, notes=notes
        )

    model, note = choose(devices, open_on)
    return replace(model, notes=(*model.notes, note)) if note else model


@dataclass(frozen=True)
class Llava:
    """A loaded bundle. It may be used from several threads; their answers take turns."""

    path: Path
    config: BundleConfig
    device: Device
    tokenizer: Tokenizer
    vision: VisionEncoder
    decoder: Decoder
    contexts: PrefixCaches
    vocabulary: Vocabulary
    grammars: Grammars
    notes: tuple[str, ...] = ()  # what a user should know about how it runs

    @classmethod
    def from_path(
        cls,
        path: Path,
        config: BundleConfig,
        device: Device,
        context: int,
        *,
        image_cache: int = IMAGE_CACHE,
        gpu_memory: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> "Llava":
        """Open the graphs of a bundle whose files were checked."""
        tokenizer = Tokenizer.from_file(path / bundles.TOKENIZER_JSON)
        stop, size = _stop_ids(config, tokenizer), config.decoder.vocab_size
        weights = path / bundles.WEIGHTS_BIN
        graph = path / bundles.decoder_onnx(device.graph)
        turns = gpu_thread() if device.separate else None
        limit = _limit(config, device, gpu_memory)
        release_unused()
        decoder = Decoder(
            graph, weights, config.decoder, device, context=context, turns=turns, limit=limit
        )
        release_unused()
        vision = VisionEncoder(
            path / bundles.vision_onnx(device.graph),
            weights,
            config.vision,
            device,
            hidden_size=config.decoder.hidden_size,
            cache_bytes=image_cache,
            turns=turns,
            limit=limit,
        )
        release_unused()
        if failure := decoder.not_recorded or vision.not_recorded:
            notes = (*notes, f"{device.name} runs without a CUDA graph ({failure}), so slower.")
        return cls(
            path=path,
            config=config,
            device=device,
            tokenizer=tokenizer,
            vision=vision,
            decoder=decoder,
            contexts=PrefixCaches(decoder),
            vocabulary=Vocabulary(tokenizer, size, stop, config.prompt.stop_strings),
            grammars=Grammars(tokenizer, vocab_size=size, stop=stop),
            notes=notes,
        )

    def stream(self, prompt: str, image: Images = None, options: Options = DEFAULTS) -> Stream:
        """Answer a prompt piece by piece.

            for piece in model.stream("What is this?", "photo.jpg", Options(max_tokens=40)):
                print(piece.text, end="", flush=True)

        A picture stands before the words, or where they say `<image>`; several pictures (a list)
        need a place each. What the prompt before began with is not read again. Raises PictureError,
        and PromptError where the prompt does not fit.
        """
        start, interrupt = time.perf_counter(), Interrupt(options.timeout)
        prompt, pictures = self.encode(prompt, image, options)
        seconds = time.perf_counter() - start if pictures else 0.0
        answer = self.begin(self.items(prompt, pictures), options, encode_seconds=seconds)
        return Stream(self._pieces(answer, interrupt), interrupt)

    def answer(self, prompt: str, image: Images = None, options: Options = DEFAULTS) -> str:
        """Answer a prompt: the joined pieces of `stream`."""
        return self.stream(prompt, image, options).text()

    def chat(self) -> Chat:
        """Begin a conversation."""
        return Chat(self)

    def load_chat(self, path: Path | str) -> Chat:
        """Go on with a conversation that Chat.save wrote; raises StateError."""
        chat = Chat(self)
        chat.restore(path)
        return chat

    def encode_image(
        self, image: PictureSource, image_tokens: int | None = None
    ) -> ImageEmbeddings:
        """Encode a picture once, to be given as `image` to several prompts.

        With `image_tokens`, only so many of its rows are kept (see reduction.diverse).
        """
        embeddings = self.vision.encode(image)
        return embeddings if image_tokens is None else embeddings.reduced(image_tokens)

    def encode(
        self, prompt: str, image: Images, options: Options
    ) -> tuple[str, tuple[ImageEmbeddings, ...]]:
        """A user's words, with `<image>` where pictures stand, and these pictures encoded."""
        given = _as_list(image)
        if len(given) == 1:
            prompt = picture_first(prompt, self.config.prompt)
        if (places := prompt.count(IMAGE)) != len(given):
            raise PromptError(
                f"The prompt has {places} {IMAGE} places for {len(given)} pictures; "
                f"write {IMAGE} once for each picture."
            )
        self._check_number(len(given), options)
        pictures = (
            picture
            if isinstance(picture, ImageEmbeddings)
            else self.encode_image(picture, options.image_tokens)
            for picture in given
        )
        return prompt, tuple(pictures)

    def items(
        self, prompt: str, pictures: tuple[ImageEmbeddings, ...], *, first: bool = True
    ) -> list[Item]:
        """Render a user's turn with its pictures; `first=False` continues a conversation."""
        messages = [Message("user", prompt)]
        segments = render(messages, self.config.prompt, self.tokenizer, first=first)
        return [item for segment in segments for item in _items(segment, pictures)]

    def begin(self, items: list[Item], options: Options, *, encode_seconds: float) -> Answer:
        """An answer to rendered items, which nothing has been done for yet."""
        self._check_fit(items)
        constraint = Constraint(options, self.grammars) if options.constrained else None
        return Answer(items, options, self.vocabulary, constraint, encode_seconds)

    @property
    def fingerprint(self) -> str:
        """What tells this bundle's weights and tokenizer from another's."""
        names = (bundles.TOKENIZER_JSON, bundles.WEIGHTS_BIN)
        listed = [self.config.files[name].sha256 for name in names]
        cache = self.config.decoder.cache_type(self.device.graph)
        return sha256(repr((*listed, cache)).encode()).hexdigest()

    def _pieces(self, answer: Answer, interrupt: Interrupt) -> Pieces:
        with self.contexts.lend() as context:
            yield from answer.pieces(context, interrupt)

    def _check_number(self, pictures: int, options: Options) -> None:
        """Refuse pictures that could never fit, before time is spent on them."""
        each = options.image_tokens or self.config.vision.image_tokens
        if pictures * each >= self.decoder.context:
            raise PromptError(
                f"The prompt has {pictures} pictures of {each:,} image tokens or more, and the "
                f"context holds {self.decoder.context:,} tokens; give at most "
                f"{(self.decoder.context - 1) // each} pictures, or fewer image_tokens."
            )

    def _check_fit(self, items: list[Item]) -> None:
        """The items must leave room for an answer."""
        size = self.decoder.context
        if len(items) < size:
            return
        rows = sum(isinstance(item, tuple) for item in items)
        larger = size < self.config.decoder.context_length
        raise PromptError(
            f"The prompt takes {len(items):,} tokens ({rows:,} of them image tokens), and the "
            f"context holds {size:,} with the answer; shorten it or begin a new "
            f"conversation{', or load the bundle with a larger context' if larger else ''}."
        )


def _limit(config: BundleConfig, device: Device, wanted: int | None) -> int | None:
    """Bytes that each graph's runs may take on a GPU, beside the weights."""
    free = free_memory(device, wanted) if device.separate else None
    if free is None:
        return None
    return max(free - expected_memory(config, device).weights, 0)


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


def _items(segment: Segment, pictures: tuple[ImageEmbeddings, ...]) -> list[Item]:
    if isinstance(segment, Picture):
        picture = pictures[segment.index]
        return [(picture, row) for row in range(len(picture.rows))]
    return list(segment.ids)
