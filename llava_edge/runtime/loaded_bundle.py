"""LoadedBundle: a bundle's parts in memory, which turn what a user says into an answer."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from weakref import WeakSet, ref

from llava_edge.core.bundle import TOKENIZER_JSON, WEIGHTS_BIN
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.machine import release_unused
from llava_edge.core.prompt import Message, Part, Picture, Segment, render
from llava_edge.core.prompt_pieces import trimmed
from llava_edge.core.strict import PositiveInt
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import LongPromptError, PromptError
from llava_edge.runtime.answer import Answer, Encoded, Vocabulary
from llava_edge.runtime.arguments import checked
from llava_edge.runtime.constraint import Grammars
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.devices.onnx_session import CLOSED
from llava_edge.runtime.idle_trim import IdleTrim
from llava_edge.runtime.image_embeddings import ImageEmbeddings
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.lifetime import Lifetime
from llava_edge.runtime.options import Options
from llava_edge.runtime.prefix_cache import Item, PrefixCaches
from llava_edge.runtime.said import SaidAnswers
from llava_edge.runtime.turn import Image, Turn, checked_image
from llava_edge.runtime.vision_encoder import VisionEncoder


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """What Llava and its chats share: the bundle's parts on a device, and how an answer begins."""

    config: BundleConfig
    device: Device
    tokenizer: Tokenizer
    vision: VisionEncoder
    decoder: Decoder
    vocabulary: Vocabulary
    grammars: Grammars
    prefix_caches: PrefixCaches  # of prompts that belong to no chat
    said: SaidAnswers  # to them
    lifetime: Lifetime
    users: WeakSet[Lifetime] = field(default_factory=WeakSet)  # of what `apart` shares

    def __post_init__(self) -> None:
        self.users.add(self.lifetime)

    def close(self) -> None:
        """End what is being computed, and give memory back: the shared parts' with the last user.

        Raises UsageError in a thread that is computing.
        """
        if not self.lifetime.close():
            return
        self.prefix_caches.close()
        self.vision.known.clear()
        self.users.discard(self.lifetime)
        if not self.users:
            self.decoder.close()
            self.vision.close()
        release_unused()

    @property
    def not_recorded(self) -> str:
        """Why runs are no CUDA graphs, where they should be."""
        return self.decoder.not_recorded or self.vision.not_recorded

    @property
    def fingerprint(self) -> str:
        """What tells this bundle's weights, tokenizer and prompt format from another's."""
        listed = [self.config.files[name].sha256 for name in (TOKENIZER_JSON, WEIGHTS_BIN)]
        cache = self.config.decoder.cache_type(self.device.graph)
        return sha256(repr((*listed, self.config.prompt, cache)).encode()).hexdigest()

    def encode_image(
        self, image: Image, image_tokens: int | None = None, interrupt: Interrupt | None = None
    ) -> ImageEmbeddings:
        """Encode a picture, where it is not yet, and keep `image_tokens` of its rows."""
        checked("image_tokens", image_tokens, PositiveInt | None)
        image = checked_image(image)
        if not isinstance(image, ImageEmbeddings):
            image = self.vision.encode(image, interrupt)
        self._check_rows(image)
        return image if image_tokens is None else image.reduced(int(image_tokens))

    def see(
        self, messages: Sequence[Message], options: Options, interrupt: Interrupt
    ) -> Generator[Encoded, None, list[Message]]:
        """The same messages with their pictures encoded; yields before each that is not yet.

        Raises PictureError, and PromptError for more pictures than could ever fit.
        """
        self._check_number(messages, options)
        new = sum(not isinstance(image, ImageEmbeddings) for image in _images(messages))
        number, seen = 0, []
        for message in messages:
            parts: list[Part] = []
            for part in message.content:
                if isinstance(part, Picture):
                    image = checked_image(part.source)
                    if not isinstance(image, ImageEmbeddings):
                        yield Encoded(number, new)
                        number += 1
                    part = Picture(self.encode_image(image, options.image_tokens, interrupt))
                parts.append(part)
            seen.append(Message(message.role, tuple(parts)))
        return seen

    def turns(self, messages: Sequence[Message]) -> tuple[str | None, list[Turn]]:
        """The system words of a conversation, and its turns, whose pictures are encoded."""
        system = _words(messages[0]) if messages[0].role == "system" else None
        turns: list[Turn] = []
        for message in messages[system is not None :]:
            if message.role == "user":
                turns.append(Turn(message))
            else:
                turns[-1] = Turn(turns[-1].question, _words(message))
        return system, turns

    def items(self, turns: Sequence[Turn], system: str | None = None) -> list[Item]:
        """A conversation as the model reads it, whose last answer may still grow."""
        items: list[Item] = []
        for turn in turns:
            messages = [turn.question]
            if system is not None and not items:
                messages.insert(0, Message("system", system))
            segments = render(messages, self.config.prompt, self.tokenizer, first=not items)
            items += [item for segment in segments for item in _items(segment)]
            answer = self._answer_ids(turn.answer, items[-1])
            items += answer if turn is turns[-1] else self.ended(answer)
        return items

    def ended(self, answer: list[int]) -> list[int]:
        """An answer's ids and its suffix, which the model may have begun to say."""
        suffix = [(self.config.prompt.assistant_suffix, True)]
        end = self.tokenizer.encode(suffix, after=answer[-1] if answer else None)
        said = (n for n in range(len(end), 0, -1) if answer[-n:] == end[:n])
        return [*answer, *end[next(said, 0) :]]

    def answer(self, options: Options, interrupt: Interrupt) -> Answer:
        """An answer that nothing has been done for yet."""
        return Answer(options, self.vocabulary, self.grammars, interrupt)

    def check_fit(self, items: Sequence[Item]) -> None:
        """Raise PromptError where a prompt leaves no room for an answer in the context."""
        size = self.decoder.context
        if len(items) < size:
            return
        rows = sum(isinstance(item, tuple) for item in items)
        larger = size < self.config.decoder.context_length
        raise LongPromptError(
            f"The prompt takes {len(items):,} tokens ({rows:,} of them image tokens), and the "
            f"context holds {size:,} with the answer; shorten it or begin a new "
            f"conversation{', or load the bundle with a larger context' if larger else ''}."
        )

    def apart(self) -> "LoadedBundle":
        """The same parts, which know nothing of what was asked and seen here."""
        self.lifetime.check()
        prefix_caches = PrefixCaches(self.decoder, self.prefix_caches.most)
        return replace(
            self,
            vision=self.vision.apart(),
            prefix_caches=prefix_caches,
            said=SaidAnswers(self.tokenizer),
            lifetime=model_lifetime(prefix_caches, self.lifetime.idle_seconds),
        )

    def _answer_ids(self, answer: list[int] | str, last: Item) -> list[int]:
        """The ids of an answer; words are those that the model has said, if it has said them."""
        if not isinstance(answer, str):
            return answer
        if (known := self.said.ids(answer)) is not None:
            return known
        prompt = self.config.prompt
        words = [(prompt.answer_prefix, True), (trimmed(answer, "assistant", prompt), False)]
        return self.tokenizer.encode(words, after=last if isinstance(last, int) else None)

    def _check_rows(self, picture: ImageEmbeddings) -> None:
        if picture.rows.shape[1] != (size := self.config.decoder.hidden_size):
            raise PromptError(
                f"The picture's rows have {picture.rows.shape[1]:,} numbers, and this bundle's "
                f"have {size:,}; encode the picture with this bundle."
            )

    def _check_number(self, messages: Sequence[Message], options: Options) -> None:
        """Refuse pictures that could never fit, before time is spent on them."""
        images = _images(messages)
        least = sum(self._least_tokens(image, options) for image in images)
        if least >= self.decoder.context:
            raise LongPromptError(
                f"The {len(images)} pictures take {least:,} tokens or more, and the context holds "
                f"{self.decoder.context:,}; give fewer pictures or fewer image_tokens."
            )

    def _least_tokens(self, image: Image, options: Options) -> int:
        """How many tokens a picture takes; one that is cut into tiles takes more."""
        if options.image_tokens is not None:
            return options.image_tokens
        if isinstance(image, ImageEmbeddings):
            return len(image.rows)
        return self.config.vision.image_tokens


def model_lifetime(prefix_caches: PrefixCaches, idle_trim: float | None) -> Lifetime:
    """A model's, whose kept prompts are forgotten when it was idle for so many seconds."""
    if idle_trim is None:
        return Lifetime(CLOSED)
    kept = ref(prefix_caches)

    def trim() -> None:
        if (caches := kept()) is not None:
            caches.trim()

    return Lifetime(CLOSED, idle=IdleTrim(idle_trim, trim))


def _items(segment: Segment) -> list[Item]:
    if isinstance(segment, Picture):
        assert isinstance(segment.source, ImageEmbeddings)
        return [(segment.source, row) for row in range(len(segment.source.rows))]
    return list(segment.ids)


def _images(messages: Sequence[Message]) -> list[Image]:
    """The pictures of messages, in their order."""
    parts = [part for message in messages for part in message.content]
    return [checked_image(part.source) for part in parts if isinstance(part, Picture)]


def _words(message: Message) -> str:
    return "".join(part for part in message.content if isinstance(part, str))
