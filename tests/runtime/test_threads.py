"""One model, several threads: answers queue, end when they are told to, and leave nothing."""

import gc
import io
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread, main_thread

import pytest
from PIL import Image

from llava_edge import Llava, Options, load
from llava_edge.runtime.devices.fair_lock import FairLock

DRAWN = Options(max_tokens=15, temperature=2.0, seed=5)


def test_answers_of_several_threads_are_those_of_one(model: Llava, photo: Image.Image) -> None:
    prompts = [f"Question {number} about the picture" for number in range(6)]
    expected = [model.answer(prompt, photo, DRAWN) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda prompt: model.answer(prompt, photo, DRAWN), prompts * 3))
    assert found == expected * 3


def test_a_chat_in_each_thread(model: Llava, photo: Image.Image) -> None:
    def talk(number: int) -> list[str]:
        chat = model.chat()
        picture = photo.rotate(90 * number)
        return [chat.answer(f"{number}", picture, DRAWN), chat.answer("And?", options=DRAWN)]

    expected = [talk(number) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(talk, range(3))) == expected


def test_first_come_first_served() -> None:
    lock, order = FairLock(), list[int]()

    def take(number: int) -> None:
        with lock.held():
            order.append(number)

    threads = [Thread(target=take, args=(number,)) for number in range(5)]
    with lock.held():
        for number, thread in enumerate(threads):
            thread.start()
            while len(lock._waiting) <= number:  # until it stands in the queue
                time.sleep(0)
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    with lock.held():  # and it is free again
        pass


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """As on a terminal; a job in the background ignores it from its start on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a thread")
@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_in_the_queue_leaves_it_in_order() -> None:
    lock, held, interrupted = FairLock(), Event(), Event()

    def hold() -> None:
        with lock.held():
            held.set()
            while not lock._waiting:  # until the main thread stands in the queue
                time.sleep(0)
            signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
            interrupted.wait()

    thread = Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.raises(KeyboardInterrupt), lock.held():
        pass
    interrupted.set()
    thread.join()
    with lock.held():
        assert not lock._waiting


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a thread")
@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_while_a_picture_is_read(tiny_bundle: Path, photo: Image.Image) -> None:
    read, go_on = Event(), Event()

    class StuckFile(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.set()
            go_on.wait()
            return b""

    def interrupt() -> None:
        read.wait()
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)

    model = load(tiny_bundle)
    thread = Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        model.encode_image(StuckFile())
    thread.join()
    assert model.answer("Tell", photo, DRAWN)
    model.close()  # waits for nobody
    go_on.set()


def test_another_thread_ends_an_answer(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    stream = model.stream("Tell", options=Options(temperature=3.0, seed=0, max_tokens=200))
    begun = Event()

    def cancel() -> None:
        begun.wait()
        stream.cancel()

    thread = Thread(target=cancel)
    thread.start()
    pieces = [next(stream)]
    begun.set()
    thread.join()
    pieces += stream
    assert pieces[-1].finish == "cancelled"
    assert len(pieces) == 2
    assert model.answer("Tell", options=DRAWN) == load(tiny_bundle).answer("Tell", options=DRAWN)


def test_a_deadline_ends_an_answer(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    (stop,) = model.bundle.vocabulary.stop
    options = Options(timeout=0.03, max_tokens=100_000, logit_bias={stop: -1000.0})
    chat, finishes = model.chat(), []
    for _ in range(3):
        chat.reset()
        *_, last = chat.stream("Tell", options=options)
        finishes.append(last.finish)
    assert set(finishes) <= {"timeout", "context"}  # a fast machine fills the context before
    *_, last = model.stream("Tell", options=Options(timeout=1e-9))
    assert (last.finish, last.timings.generated_tokens) == ("timeout", 0)


def test_a_thousand_questions_leave_memory_where_it_was(tiny_bundle: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from Linux's /proc")
    model = load(tiny_bundle, context=128, image_cache=2**16)
    sizes = []
    for number in range(1000):
        picture = Image.new("RGB", (40, 30), (number % 256, number // 4, 90))
        chat = model.chat()
        chat.answer("What is it?", picture, Options(max_tokens=2, temperature=1.0, seed=number))
        if number % 250 == 249:
            gc.collect()
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    assert sizes[-1] - sizes[0] < 2 * 2**20
