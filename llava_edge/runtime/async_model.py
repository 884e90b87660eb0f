"""AsyncLlava and AsyncChat: a model and its conversations for asyncio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.prompt import Message
from llava_edge.runtime.async_stream import AsyncStream, in_thread
from llava_edge.runtime.chat import Chat
from llava_edge.runtime.devices.device import Device
from llava_edge.runtime.image_embeddings import ImageEmbeddings
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import DEFAULTS, Options
from llava_edge.runtime.turn import Image, Images


async def load_async(
    bundle: Path | str | None = None, device: str = "auto", **settings: Any
) -> "AsyncLlava":
    """Load a bundle as `load` does, which takes and raises the same, in a thread of its own."""
    return AsyncLlava(await in_thread(lambda: load(bundle, device, **settings)))


class AsyncLlava:
    """A loaded bundle for asyncio, as `load_async` returns it; or one around a Llava.

        async with await load_async("my-bundle") as model:
            print(await model.answer("What is in the picture?", "photo.jpg"))
            async for piece in model.stream("Describe it.", "photo.jpg"):
                print(piece.text, end="")

    Its calls take and raise what those of Llava do, and compute in threads of their own. When a
    task is cancelled, its answer ends. Several answers may be made at once.
    """

    def __init__(self, model: Llava) -> None:
        self.sync = model

    @property
    def config(self) -> BundleConfig:
        """What the bundle's `bundle.json` says."""
        return self.sync.config

    @property
    def device(self) -> Device:
        """What it runs on."""
        return self.sync.device

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a user should know about how it runs."""
        return self.sync.notes

    def stream(
        self,
        prompt: str | Message | Sequence[Message],
        /,
        image: Images | Options = None,
        options: Options = DEFAULTS,
        *,
        system: str | None = None,
    ) -> AsyncStream:
        """Answer a prompt, or the last message of a conversation, piece by piece."""
        asked: Any = self.sync.stream  # whose forms are checked there
        return AsyncStream(asked(prompt, image, options, system=system))

    async def answer(
        self,
        prompt: str | Message | Sequence[Message],
        /,
        image: Images | Options = None,
        options: Options = DEFAULTS,
        *,
        system: str | None = None,
    ) -> str:
        """Answer as a whole: the joined pieces of `stream`, which takes the same."""
        return await self.stream(prompt, image, options, system=system).text()

    def chat(self, system: str | None = None) -> "AsyncChat":
        """Begin a conversation."""
        return AsyncChat(self.sync.chat(system))

    async def load_chat(self, path: Path | str) -> "AsyncChat":
        """Go on with a conversation that was saved to a file."""
        return AsyncChat(await in_thread(lambda: self.sync.load_chat(path)))

    async def encode_image(self, image: Image, image_tokens: int | None = None) -> ImageEmbeddings:
        """Encode a picture once, to be given as `image` to several prompts."""
        interrupt = Interrupt()
        bundle = self.sync.bundle
        try:
            return await in_thread(
                lambda: bundle.lifetime.run(
                    lambda own: bundle.encode_image(image, image_tokens, own), interrupt
                )
            )
        finally:
            interrupt.end("cancelled")  # which does nothing where it is encoded

    def apart(self) -> "AsyncLlava":
        """The same model, which knows nothing of what this one has seen: see Llava.apart."""
        return AsyncLlava(self.sync.apart())

    async def aclose(self) -> None:
        """Give all memory back; ends its running answers and chats first."""
        await in_thread(self.sync.close)

    async def __aenter__(self) -> "AsyncLlava":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


class AsyncChat:
    """A conversation for asyncio, which `AsyncLlava.chat` begins; else as Chat."""

    def __init__(self, chat: Chat) -> None:
        self.sync = chat

    @property
    def messages(self) -> list[Message]:
        """What was said so far."""
        return self.sync.messages

    def stream(
        self, prompt: str | Message, /, image: Images = None, options: Options = DEFAULTS
    ) -> AsyncStream:
        """Answer the next turn piece by piece."""
        return AsyncStream(self.sync.stream(prompt, image, options))

    async def answer(
        self, prompt: str | Message, /, image: Images = None, options: Options = DEFAULTS
    ) -> str:
        """Answer the next turn as a whole."""
        return await self.stream(prompt, image, options).text()

    def reset(self) -> None:
        """Begin anew, with the same system words and without the turns so far."""
        self.sync.reset()

    async def save(self, path: Path | str) -> None:
        """Write the conversation with its KV cache to a file, for load_chat."""
        await in_thread(lambda: self.sync.save(path))

    async def aclose(self) -> None:
        """Give the memory of the KV cache back; ends a running answer first."""
        await in_thread(self.sync.close)

    async def __aenter__(self) -> "AsyncChat":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()
