"""Pictures are read, decoded and encoded under no lock, and given up at each of these steps."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

import pytest
from PIL import Image

from llava_edge import Llava, Message, Options, Picture, PictureError, load
from llava_edge.runtime import picture_pixels
from llava_edge.runtime.aside import LeftBehind
from llava_edge.runtime.interrupt import Interrupt, Interrupted

SHORT = Options(max_tokens=3)


class SlowFile(io.BytesIO):
    """A file whose reads end when they are told to: without that, the test would hang."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.begun, self.go_on = Event(), Event()

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun.set()
        self.go_on.wait()
        return super().read(size)


@pytest.fixture
def slow(photo_file: Path) -> Iterator[SlowFile]:
    file = SlowFile(photo_file.read_bytes())
    yield file
    file.go_on.set()


def cancel_when(begun: Event, interrupt: Interrupt) -> None:
    begun.wait()
    interrupt.end("cancelled")


def test_a_slow_file_holds_up_neither_cancelling_nor_others(
    model: Llava, slow: SlowFile, photo: Image.Image
) -> None:
    stream = model.stream("What?", slow, SHORT)
    assert next(stream).stage == "encoding"
    thread = Thread(target=lambda: (slow.begun.wait(), model.apart().answer("A", photo, SHORT)))
    thread.start()

    def cancel() -> None:
        thread.join()  # another question about a new picture is answered meanwhile
        stream.cancel()

    Thread(target=cancel).start()
    assert [piece.finish for piece in stream] == ["cancelled"]


def test_a_slow_file_holds_up_no_deadline(model: Llava, slow: SlowFile) -> None:
    *_, last = model.stream("What?", slow, Options(timeout=0.05))
    assert last.finish == "timeout"
    assert last.timings.encoded_pictures == 0 and last.timings.pictures == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_file_that_does_not_even_open(model: Llava, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    *_, last = model.stream("What?", tmp_path / "pipe.png", Options(timeout=0.05))
    assert last.finish == "timeout"
    with open(tmp_path / "pipe.png", "wb"):  # the thread that was left behind goes on, and ends
        pass


def test_a_decoder_ends_when_nobody_waits(
    model: Llava, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, ended = Event(), Event(), Event()
    load_picture = picture_pixels.load_picture

    def decode(source: io.BytesIO) -> Image.Image:
        begun.set()
        go_on.wait()
        try:
            return load_picture(source)
        except PictureError as error:
            assert isinstance(error.__cause__, LeftBehind)
            ended.set()
            raise

    monkeypatch.setattr(picture_pixels, "load_picture", decode)
    interrupt = Interrupt()
    file = io.BytesIO()
    photo.rotate(3).save(file, "PNG")
    Thread(target=cancel_when, args=(begun, interrupt)).start()
    with pytest.raises(Interrupted):
        model.vision.encode(file, interrupt)
    go_on.set()
    ended.wait()


def test_waiting_for_a_decoder_or_the_tower_is_given_up(model: Llava, photo: Image.Image) -> None:
    decoders = [picture_pixels._decoders.held() for _ in range(picture_pixels.DECODERS)]
    for held in (decoders, [model.vision._encoding.held()]):
        with ExitStack() as stack:
            for place in held:
                stack.enter_context(place)
            *_, last = model.stream("What?", photo.rotate(5), Options(timeout=0.05))
            assert (last.finish, last.stage) == ("timeout", "encoding")
    assert model.answer("What?", photo.rotate(5), SHORT) is not None


def test_the_run_of_the_tower_is_ended(model: Llava, photo: Image.Image) -> None:
    interrupt = Interrupt()
    interrupt.run_options.terminate = True  # as `end` does, in the middle of the run
    seen = model.vision._look(photo.rotate(11), lambda: None)
    assert isinstance(seen, picture_pixels.PicturePixels)

    def run() -> None:
        interrupt.reason = "cancelled"
        model.vision._compute(seen.pixels, interrupt)

    with pytest.raises(Interrupted):
        interrupt.compute(run)


def test_another_answers_turn_is_waited_for_no_longer(model: Llava) -> None:
    """A thread that computes for long holds up no answer that is to end."""
    begun, go_on = Event(), Event()

    def compute() -> None:
        begun.set()
        go_on.wait()

    thread = Thread(target=model.decoder._queue.run, args=(compute,))
    thread.start()
    begun.wait()
    *_, last = model.stream("What?", options=Options(timeout=0.05))
    assert (last.finish, last.stage) == ("timeout", "reading")
    go_on.set()
    thread.join()


def test_a_picture_that_two_ask_for_is_encoded_once(tiny_bundle: Path, photo: Image.Image) -> None:
    model = load(tiny_bundle)
    runs: list[int] = []
    compute = model.vision._compute

    def counted(pixels: object, interrupt: object) -> object:
        runs.append(1)
        return compute(pixels, interrupt)  # type: ignore[arg-type]

    model.vision._compute = counted  # type: ignore[method-assign,assignment]
    found: list[object] = []
    threads = [Thread(target=lambda: found.append(model.encode_image(photo))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 1
    assert all(one is found[0] for one in found) and len(found) == 5


def test_each_picture_is_told_of_before_it_is_encoded(model: Llava, photo: Image.Image) -> None:
    other = model.encode_image(photo.rotate(180))
    parts = [Picture(photo), "and", Picture(other), "and", Picture(photo.rotate(90)), "?"]
    *pieces, last = model.stream(Message("user", parts), SHORT)
    stages = [piece.stage for piece in [*pieces, last]]
    assert stages[:3] == ["encoding", "encoding", "reading"]
    assert stages == sorted(stages, key=["encoding", "reading", "answering"].index)
    told = [(piece.timings.encoded_pictures, piece.timings.pictures) for piece in pieces[:3]]
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert [piece.timings.prompt_tokens > 0 for piece in pieces[:3]] == [False, False, True]
    assert pieces[2].timings.prefilled_tokens == 0
