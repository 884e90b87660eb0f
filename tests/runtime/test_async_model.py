"""The same answers in an event loop, which is never held up, and no thread that outlives them."""

import asyncio
import gc
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from llava_edge import (
    AsyncLlava,
    Llava,
    Message,
    Options,
    Picture,
    PictureError,
    PromptError,
    UsageError,
    load_async,
)
from llava_edge.runtime.async_stream import AHEAD, in_thread

SHORT = Options(max_tokens=6)
DRAWN = Options(max_tokens=30, temperature=3.0, seed=4)
ENDLESS = Options(max_tokens=200, temperature=3.0, seed=4)


def threads_of_answers() -> list[threading.Thread]:
    names = ("llava-edge-answer", "llava-edge-call", "llava-edge-aside")
    return [thread for thread in threading.enumerate() if thread.name in names]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    for thread in threads_of_answers():
        thread.join(60)
    assert not threads_of_answers()


class StuckFile(io.BytesIO):
    """A file whose reads end when they are told to."""

    def __init__(self) -> None:
        super().__init__(b"no picture")
        self.begun, self.go_on = Event(), Event()

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun.set()
        self.go_on.wait()
        return super().read(size)


def test_the_same_pieces(model: Llava, photo: Image.Image) -> None:
    question = Message("user", [Picture(photo), "What is this?"])

    async def ask() -> None:
        twin = AsyncLlava(model).apart()
        pieces = [piece async for piece in twin.stream(question, DRAWN)]
        *expected, last = model.apart().stream(question, DRAWN)
        assert [piece.text for piece in pieces] == [piece.text for piece in [*expected, last]]
        assert [piece.stage for piece in pieces] == [piece.stage for piece in [*expected, last]]
        assert pieces[-1].finish == last.finish
        assert await twin.answer("What is this?", photo, DRAWN) == model.answer(question, DRAWN)
        assert await twin.encode_image(photo, 7) == model.encode_image(photo, 7)
        assert (twin.config, twin.device, twin.notes) == (model.config, model.device, model.notes)
        assert asyncio.get_running_loop()._default_executor is None  # type: ignore[attr-defined]

    asyncio.run(ask())


def test_several_answers_at_once(model: Llava) -> None:
    questions = ["Tell me", "Is there a dog?", "What else?", "Why?"]
    expected = [model.apart().answer(text, options=DRAWN) for text in questions]

    async def ask() -> list[str]:
        twin = AsyncLlava(model)
        return await asyncio.gather(*(twin.answer(text, options=DRAWN) for text in questions))

    assert asyncio.run(ask()) == expected


def test_a_conversation(model: Llava, photo: Image.Image, tmp_path: Path) -> None:
    chat = model.chat("Be brief.")
    expected = [chat.answer("What?", photo, SHORT), chat.answer("And?", options=SHORT)]

    async def talk() -> None:
        twin = AsyncLlava(model)
        async with twin.chat("Be brief.") as chat:
            assert await chat.answer("What?", photo, SHORT) == expected[0]
            await chat.save(tmp_path / "talk.npz")
            pieces = [piece.text async for piece in chat.stream("And?", options=SHORT)]
            assert "".join(pieces) == expected[1]
            assert len(chat.messages) == 5
        loaded = await twin.load_chat(tmp_path / "talk.npz")
        assert await loaded.answer("And?", options=SHORT) == expected[1]
        loaded.reset()
        assert len(loaded.messages) == 1
        with pytest.raises(UsageError, match="conversation was closed; begin another"):
            await chat.answer("Still there?")

    asyncio.run(talk())


def test_errors_are_raised_where_the_stream_raises_them(model: Llava, tmp_path: Path) -> None:
    async def ask() -> None:
        twin = AsyncLlava(model)
        with pytest.raises(PictureError, match="does not exist"):
            await twin.answer("What?", tmp_path / "gone.png")
        with pytest.raises(PromptError, match="The prompt takes"):
            await twin.answer("What? " * 500)
        with pytest.raises(UsageError, match="prompt is 5"):
            twin.stream(5)  # type: ignore[arg-type]
        with pytest.raises(PictureError):
            await twin.encode_image(b"no picture")
        assert await twin.answer("What?", options=SHORT)

    asyncio.run(ask())


def test_a_cancelled_task_ends_its_answer(model: Llava) -> None:
    """Also while a picture is read from a file that never comes."""
    file = StuckFile()

    async def ask() -> None:
        twin = AsyncLlava(model)
        for asked in (twin.answer("What?", file), twin.encode_image(file)):
            file.begun.clear()
            task = asyncio.create_task(asked)
            await in_thread(file.begun.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        task = asyncio.create_task(twin.answer("Tell", options=ENDLESS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert not [thread for thread in threads_of_answers() if thread.name == "llava-edge-answer"]
    file.go_on.set()


def test_a_timeout_of_asyncio(model: Llava) -> None:
    file = StuckFile()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(AsyncLlava(model).answer("What?", file), 0.05)

    asyncio.run(ask())
    file.go_on.set()


def test_leaving_gives_an_answer_up(model: Llava) -> None:
    async def leave() -> None:
        twin = AsyncLlava(model)
        async with twin.stream("Tell", options=ENDLESS) as stream:
            async for piece in stream:
                assert piece.finish is None
                break
        assert not threads_of_answers()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        async for _ in twin.stream("Tell", options=ENDLESS):
            break  # the stream is held by nobody any longer: see no_thread_is_left
        await twin.stream("Tell").aclose()  # never begun
        stream = twin.stream("Tell", options=ENDLESS)
        pieces = [await anext(stream)]
        stream.cancel()
        pieces += [piece async for piece in stream]
        assert pieces[-1].finish == "cancelled"
        assert await stream.text() == ""

    asyncio.run(leave())


def test_a_loop_that_ends_ends_its_answers(model: Llava) -> None:
    held = []

    async def leave() -> None:
        held.append(AsyncLlava(model).stream("Tell", options=ENDLESS))
        await anext(held[0])

    asyncio.run(leave())
    held.clear()


def test_few_pieces_are_computed_ahead(model: Llava) -> None:
    async def wait() -> None:
        stream = AsyncLlava(model).stream("Tell", options=ENDLESS)
        await anext(stream)
        reader = stream._reader
        assert reader is not None
        while reader._room._value:  # until the thread waits for the reader
            await asyncio.sleep(0.001)
        assert len(reader._pieces) <= AHEAD + 1
        await stream.aclose()

    asyncio.run(wait())


def test_load_and_close(tiny_bundle: Path) -> None:
    async def use() -> None:
        stages: list[str] = []
        loading = load_async(tiny_bundle, context=100, progress=lambda at, _: stages.append(at))
        async with await loading as model:
            assert await model.answer("Tell", options=SHORT)
            assert model.sync.decoder.context == 100
            stream = model.stream("Tell", options=ENDLESS)
            await anext(stream)
        assert [piece async for piece in stream][-1].finish == "cancelled"
        with pytest.raises(UsageError, match="model was closed; load"):
            await model.answer("Tell")
        assert set(stages) == {"files", "decoder", "vision"}

    asyncio.run(use())
