"""Llava: a bundle that answers questions about pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.prompt import Message
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.runtime.answer import Pieces, PromptInMaking
from llava_edge.runtime.arguments import refusal
from llava_edge.runtime.asked import asked_messages, asked_question
from llava_edge.runtime.chat import Chat
from llava_edge.runtime.decoder import Decoder
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.image_embeddings import ImageEmbeddings
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.loaded_bundle import LoadedBundle
from llava_edge.runtime.open_bundle import LoadProgress, open_bundle
from llava_edge.runtime.options import DEFAULTS, Options, checked_options
from llava_edge.runtime.stream import Stream
from llava_edge.runtime.turn import Image, Images
from llava_edge.runtime.vision_encoder import IMAGE_CACHE, VisionEncoder


@dataclass(frozen=True, eq=False)
class Llava:
    """A loaded bundle, as `load` returns it.

    It may be used from several threads; their answers are computed one call at a time.

    - path: the bundle's folder.
    - notes: sentences that a user should know about how it runs, such as why no GPU is used.
    """

    path: Path
    bundle: LoadedBundle = field(repr=False)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_path(
        cls,
        path: Path,
        config: BundleConfig,
        device: Device,
        context: int,
        *,
        image_cache: int = IMAGE_CACHE,
        contexts: int = 1,
        gpu_memory: int | None = None,
        notes: tuple[str, ...] = (),
        idle_trim: float | None = None,
        progress: LoadProgress = lambda stage, done: None,
    ) -> "Llava":
        """Open the graphs of a bundle whose files were checked; `load` does both."""
        bundle = open_bundle(
            path,
            config,
            device,
            context,
            image_cache=image_cache,
            contexts=contexts,
            gpu_memory=gpu_memory,
            idle_trim=idle_trim,
            progress=progress,
        )
        if failure := bundle.not_recorded:
            notes = (*notes, f"{device.name} runs without a CUDA graph ({failure}), so slower.")
        return cls(path, bundle, notes)

    @property
    def config(self) -> BundleConfig:
        """What the bundle's `bundle.json` says."""
        return self.bundle.config

    @property
    def device(self) -> Device:
        """What it runs on; `device.name` is one of the names that `load` takes."""
        return self.bundle.device

    @property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer."""
        return self.bundle.tokenizer

    @property
    def vision(self) -> VisionEncoder:
        """The vision tower and projector."""
        return self.bundle.vision

    @property
    def decoder(self) -> Decoder:
        """The language model; `decoder.context` is the most tokens of a conversation."""
        return self.bundle.decoder

    @overload
    def stream(self, messages: Message | Sequence[Message], options: Options, /) -> Stream: ...

    @overload
    def stream(
        self,
        prompt: str | Message | Sequence[Message],
        /,
        image: Images = None,
        options: Options = DEFAULTS,
        *,
        system: str | None = None,
    ) -> Stream: ...

    def stream(
        self,
        prompt: str | Message | Sequence[Message],
        /,
        image: Images | Options = None,
        options: Options = DEFAULTS,
        *,
        system: str | None = None,
    ) -> Stream:
        """Answer a prompt, or the last message of a conversation, piece by piece.

            for piece in model.stream("What is this?", "photo.jpg", Options(max_tokens=40)):
                print(piece.text, end="", flush=True)

            messages = [
                Message("system", "Be brief."),
                Message("user", ["Who is this? ", Picture("photo.jpg")]),
            ]
            model.stream(messages, Options(max_tokens=40))

        - prompt: the user's words, or messages, whose parts are words and pictures.
        - image: a picture, or a list or tuple of them. Each is a path, a `data:` URL, the bytes of
          a file, an open file, a uint8 or float array [H, W] or [H, W, 1, 3 or 4], a Pillow
          picture, or what `encode_image` returned. They stand before the words, or where these
          say `<image>`, once for each.
        - options: how the answer is drawn and ended.
        - system: words that say how to answer, in the place of the prompt format's own.

        Nothing is read or computed before the iteration. What the conversations before began with
        is not read again. Raises UsageError for arguments of other types, and PromptError for what
        the prompt format cannot write; in the iteration PictureError for a picture that cannot be
        read, PromptError for a prompt that does not fit the context, UsageError for options that
        the model cannot follow, and DeviceError where the device fails.
        """
        if isinstance(image, Options) and not isinstance(prompt, str):
            options, image = image, None
        messages = self._asked(prompt, image, system)
        interrupt = Interrupt(checked_options(options).timeout)
        pieces = self._pieces(messages, options, interrupt)
        return Stream(pieces, interrupt, self.bundle.lifetime)

    @overload
    def answer(self, messages: Message | Sequence[Message], options: Options, /) -> str: ...

    @overload
    def answer(
        self,
        prompt: str | Message | Sequence[Message],
        /,
        image: Images = None,
        options: Options = DEFAULTS,
        *,
        system: str | None = None,
    ) -> str: ...

    def answer(
        self,
        prompt: Any,
        /,
        image: Any = None,
        options: Options = DEFAULTS,
        *,
        system: str | None = None,
    ) -> str:
        """Answer as a whole: the joined pieces of `stream`, which takes the same."""
        return self.stream(prompt, image, options, system=system).text()

    def chat(self, system: str | None = None) -> Chat:
        """Begin a conversation, with system words in the place of the prompt format's own.

        Raises PromptError where the prompt format has no place for them.
        """
        return Chat(self.bundle, system)

    def load_chat(self, path: Path | str) -> Chat:
        """Go on with a conversation that Chat.save wrote to a file.

        Raises StateError where the file is damaged, of another bundle, or longer than the context.
        """
        chat = Chat(self.bundle)
        chat.restore(path)
        return chat

    def encode_image(self, image: Image, image_tokens: int | None = None) -> ImageEmbeddings:
        """Encode a picture once, to be given as `image` to several prompts.

        - image: a picture in any of the forms that `stream` takes.
        - image_tokens: keep only so many of its rows, those that differ most from one another.

        Raises PictureError for a picture that cannot be read, UsageError where it has fewer rows,
        and where the model is closed.
        """
        return self.bundle.lifetime.run(
            lambda interrupt: self.bundle.encode_image(image, image_tokens, interrupt)
        )

    def close(self) -> None:
        """Give all memory back, from any thread; ends its running answers and chats first.

        What twins share goes with the last of them. Other calls raise UsageError from then on.
        """
        self.bundle.close()

    def __enter__(self) -> "Llava":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def apart(self) -> "Llava":
        """The same model, which knows nothing of the prompts and pictures that this one has seen.

        Weights and device are shared. A server takes one for each of its users, since the time to
        the first word tells what was read before.
        """
        return replace(self, bundle=self.bundle.apart())

    def _asked(
        self, prompt: str | Message | Sequence[Message], image: Any, system: str | None
    ) -> list[Message]:
        """The conversation that is asked for, checked."""
        if isinstance(prompt, str) or image is not None:
            if not isinstance(prompt, str | Message):
                raise refusal("image", image, "pictures in the messages, or a string as prompt")
            prompt = asked_question(prompt, image, self.config.prompt)
        return asked_messages(prompt, system, self.config.prompt)

    def _pieces(
        self, messages: Sequence[Message], options: Options, interrupt: Interrupt
    ) -> Pieces:
        bundle = self.bundle
        answer = bundle.answer(options, interrupt)

        def make_prompt() -> PromptInMaking:
            seen = yield from bundle.see(messages, options, interrupt)
            system, turns = bundle.turns(seen)
            items = bundle.items(turns, system)
            bundle.check_fit(items)
            return items

        try:
            yield from answer.pieces(make_prompt, bundle.prefix_caches.lend)
        finally:
            bundle.said.remember(answer.ids)
