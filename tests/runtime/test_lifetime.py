"""What is closed has ended and given its memory back, and says so to those who come later."""

import gc
import io
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from PIL import Image

from llava_edge import Llava, Options, UsageError, load
from llava_edge.runtime.lifetime import Lifetime

SHORT = Options(max_tokens=4)
ENDLESS = Options(max_tokens=200, temperature=3.0, seed=4)


@pytest.fixture
def model(tiny_bundle: Path) -> Llava:
    return load(tiny_bundle)


def test_every_call_after_closing_is_refused(
    model: Llava, photo: Image.Image, tmp_path: Path
) -> None:
    chat = model.chat()
    chat.answer("What?", photo, SHORT)
    chat.save(tmp_path / "talk.npz")
    with model:
        before = model.stream("Tell")
    assert [piece.finish for piece in before] == ["cancelled"]
    calls: list[Callable[[], object]] = [
        lambda: model.stream("Tell"),
        lambda: model.answer("Tell"),
        lambda: model.encode_image(photo),
        lambda: model.chat(),
        lambda: model.apart(),
        lambda: model.load_chat(tmp_path / "talk.npz"),
        lambda: model.decoder.embed([1]),
        lambda: model.decoder.new_cache(),
        lambda: model.vision.rows(np.zeros((1, 3, 33, 33), np.float32), (33, 33)),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"^The model was closed; load the bundle again\.$"):
            call()
    for call in (lambda: chat.answer("And?"), lambda: chat.save(tmp_path / "again.npz")):
        with pytest.raises(UsageError, match=r"^The conversation was closed; begin another one\.$"):
            call()
    assert len(chat.messages) == 2 and model.config.name
    model.close()
    chat.close()


def test_closing_gives_sessions_caches_and_files_back(model: Llava, photo: Image.Image) -> None:
    chat = model.chat()
    chat.answer("What?", photo, SHORT)
    model.answer("What?", photo, SHORT)
    stream = model.stream("Tell", options=ENDLESS)
    next(stream)
    gone = [
        weakref.ref(part)
        for part in (
            model.decoder._graph.session,
            model.vision._graph.session,
            model.decoder._embedding._data,
            *(cache._memory for cache in model.decoder._caches),  # type: ignore[attr-defined]
        )
    ]
    assert len(gone) == 5
    gc.disable()  # at once, and not when garbage is collected
    try:
        model.close()
        assert [ref() for ref in gone] == [None] * 5
    finally:
        gc.enable()
    assert next(stream).finish == "cancelled"
    assert len(model.vision.known) == 0


def test_closing_ends_a_running_answer_first(model: Llava) -> None:
    stream, begun, finishes = model.stream("Tell", options=ENDLESS), Event(), []

    def read() -> None:
        for piece in stream:
            begun.set()
            finishes.append(piece.finish)

    thread = Thread(target=read)
    thread.start()
    begun.wait()
    model.close()
    thread.join()
    assert finishes[-1] == "cancelled"


def test_closing_waits_for_no_file(model: Llava) -> None:
    class StuckFile(io.BytesIO):
        begun, go_on = Event(), Event()

        def read(self, size: int | None = -1, /) -> bytes:
            self.begun.set()
            self.go_on.wait()
            return b""

    file, said = StuckFile(), []

    def encode() -> None:
        try:
            model.encode_image(file)
        except UsageError as error:
            said.append(str(error))

    thread = Thread(target=encode)
    thread.start()
    file.begun.wait()
    model.close()
    thread.join()
    file.go_on.set()
    assert said == ["The model was closed; load the bundle again."]


def test_between_two_pieces_the_same_thread_may_close(model: Llava) -> None:
    finishes = []
    for piece in model.stream("Tell", options=ENDLESS):
        finishes.append(piece.finish)
        model.close()
    assert finishes == [None, "cancelled"]
    chat = load(model.path).chat()
    finishes = []
    for piece in chat.stream("Tell", options=ENDLESS):
        finishes.append(piece.finish)
        chat.close()
    assert finishes == [None, "cancelled"]


def test_while_it_computes_a_thread_may_not_close() -> None:
    whole = Lifetime("It was closed.")
    part = Lifetime("Its part was closed.", whole)
    with part.computing():
        for lifetime in (whole, part):
            with pytest.raises(UsageError, match="cancel the stream, and close it afterwards"):
                lifetime.close()
    assert part.close() and whole.close()
    assert not whole.close()


def test_twins_share_until_the_last_is_closed(model: Llava, photo: Image.Image) -> None:
    expected = model.answer("What?", photo, SHORT)
    twin, third = model.apart(), model.apart()
    chat = model.chat()
    chat.answer("What?", photo, SHORT)
    del third  # one that is never closed holds nothing back
    model.close()
    with pytest.raises(UsageError, match="model was closed"):
        model.answer("What?")
    with pytest.raises(UsageError, match="conversation was closed"):
        chat.answer("What?")
    assert twin.answer("What?", photo, SHORT) == expected
    session = weakref.ref(twin.decoder._graph.session)
    twin.close()
    assert session() is None


def test_a_stream_in_a_with_is_given_up(model: Llava) -> None:
    with model.stream("Tell", options=ENDLESS) as stream:
        assert next(stream).finish is None
    assert list(stream) == []


def test_a_model_that_nobody_holds_is_gone_at_once(tiny_bundle: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        model = load(tiny_bundle, idle_trim=1000.0)
        model.chat().answer("Tell", options=SHORT)
        model.answer("Tell", options=SHORT)
        session = weakref.ref(model.decoder._graph.session)
        del model
        assert session() is None
    finally:
        gc.enable()


def test_an_idle_model_forgets_finished_prompts(tiny_bundle: Path) -> None:
    model = load(tiny_bundle, idle_trim=0.02)
    chat = model.chat()
    first = [model.answer("Tell me", options=SHORT), chat.answer("Tell me", options=SHORT)]
    while model.bundle.prefix_caches._kept:
        Event().wait(0.01)
    *_, last = model.stream("Tell me", options=SHORT)
    assert last.timings.cached_tokens == 0
    assert model.answer("Tell me", options=SHORT) == first[0]
    *_, last = chat.stream("And?", options=SHORT)
    assert last.timings.cached_tokens > 0  # a conversation keeps its own
    twin = model.apart()
    twin.answer("Tell me", options=SHORT)
    while twin.bundle.prefix_caches._kept:
        Event().wait(0.01)
    model.close()
    twin.close()


def test_shrinking_changes_no_answer(model: Llava) -> None:
    chat = model.chat()
    first = chat.answer("Tell", options=ENDLESS)
    model.decoder.shrink()
    again = model.chat()
    assert again.answer("Tell", options=ENDLESS) == first
    assert chat.answer("More", options=SHORT) == again.answer("More", options=SHORT)
