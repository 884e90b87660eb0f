"""The example's window, driven as a user does: pictures, answers, Stop, errors, and its end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from places import ROOT

if sys.platform == "linux":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # which needs no display
pytest.importorskip(
    "PySide6.QtWidgets",
    reason="PySide6_Essentials, or a library of the system that it needs, is not installed",
    exc_type=ImportError,
)

from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from window import OPTIONS, Window

from llava_edge import load

PATIENCE = 60  # seconds, for what is never to happen
LONG = "word " * 40


@pytest.fixture(scope="module")
def app() -> QApplication:
    return QApplication.instance() or QApplication([])


@pytest.fixture
def window(app: QApplication, roomy_bundle: Path) -> Iterator[Window]:
    """With the bundle loaded."""
    window = Window(str(roomy_bundle))
    window.show()
    until(window.ask.isEnabled)
    yield window
    window.close()
    window.answers.join()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        QTest.qWait(5)


def ask(window: Window, words: str) -> None:
    """Type words and press Enter."""
    QTest.keyClicks(window.words, words)
    QTest.keyClick(window.words, Qt.Key.Key_Return)


def answered(window: Window) -> str:
    until(lambda: window.stream is None)
    return window.talk.toPlainText()


def printed(text: str) -> str:
    """Without line ends: a random model says all kinds of them, and a text field keeps one."""
    return "".join(filter(str.isprintable, text))


def drop(window: Window, data: QMimeData) -> None:
    """As the mouse does: over the window, then let go."""
    kind = (data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    over = QDragEnterEvent(QPointF(50, 50), Qt.DropAction.CopyAction, *kind)
    QApplication.sendEvent(window, over)
    assert over.isAccepted()
    QApplication.sendEvent(window, QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, *kind))


def test_a_dropped_picture_is_answered_as_the_model_does(
    window: Window, roomy_bundle: Path, photo_file: Path
) -> None:
    """And the next question goes on with it."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(photo_file))])
    drop(window, data)
    assert not window.shown.pixmap().isNull()
    chat = load(roomy_bundle).chat()
    ask(window, "What is this?")
    first = chat.answer("What is this?", photo_file, OPTIONS)
    assert printed(answered(window)) == printed(f"> What is this?{first}")
    ask(window, "And?")
    second = chat.answer("And?", options=OPTIONS)
    assert printed(answered(window)) == printed(f"> What is this?{first}> And?{second}")
    assert first and second


def test_a_pasted_picture_is_shown_and_words_are_pasted_as_words(
    window: Window, photo: Image.Image
) -> None:
    clipboard = QApplication.clipboard()
    clipboard.setText("some words")
    QTest.keySequence(window.words, "Ctrl+V")
    assert (window.words.text(), window.picture) == ("some words", None)
    size = (*photo.size, 3 * photo.width)
    image = QImage(photo.tobytes(), *size, QImage.Format.Format_RGB888)
    clipboard.setImage(image.copy())  # which outlives the bytes
    QTest.keySequence(window.words, "Ctrl+V")
    assert isinstance(window.picture, bytes) and window.words.text() == "some words"
    assert window.shown.pixmap().height() == window.shown.height()


def test_stop_ends_an_answer_and_the_next_one_comes(window: Window) -> None:
    ask(window, LONG)
    until(lambda: "tokens," in window.statusBar().currentMessage())
    assert window.ask.text() == "Stop"
    QTest.keyClicks(window.words, "typed meanwhile")
    QTest.keyClick(window.words, Qt.Key.Key_Return)  # waits for the answer, and stops nothing
    assert window.words.text() == "typed meanwhile"
    QTest.mouseClick(window.ask, Qt.MouseButton.LeftButton)
    answered(window)
    assert window.statusBar().currentMessage().endswith("(cancelled)")
    assert window.ask.text() == "Ask"
    QTest.mouseClick(window.ask, Qt.MouseButton.LeftButton)
    assert "> typed meanwhile\n" in answered(window)


def test_an_error_is_a_sentence_and_the_conversation_goes_on(
    window: Window, tmp_path: Path
) -> None:
    (tmp_path / "no.png").write_text("no picture")
    window.show_file(str(tmp_path / "no.png"))
    assert "no preview" in window.shown.text()
    ask(window, "What is this?")
    said = answered(window).splitlines()[1]
    assert "no.png" in said and said.endswith(".")
    ask(window, "And?")
    assert "> And?\n" in answered(window)


def test_a_bundle_that_is_missing_is_said(app: QApplication, tmp_path: Path) -> None:
    window = Window(str(tmp_path))
    until(lambda: bool(window.talk.toPlainText()))
    assert "is not a bundle" in window.talk.toPlainText()
    assert not window.ask.isEnabled()
    window.close()
    window.answers.join()


def test_a_window_that_is_closed_while_it_answers_ends_its_program(roomy_bundle: Path) -> None:
    """And one that is closed while it loads."""
    program = (
        "import sys, window\n"
        "from PySide6.QtCore import QTimer\n"
        "from PySide6.QtWidgets import QApplication\n"
        "def drive():\n"
        "    (one,) = QApplication.topLevelWidgets()\n"
        "    if sys.argv[2] == 'loading': return one.close()\n"
        "    if one.chat is None: return QTimer.singleShot(10, drive)\n"
        "    one.words.setText('word ' * 40); one.send()\n"
        "    one.answers.said.connect(lambda words, status: words and one.close())\n"
        "QTimer.singleShot(0, drive)\n"
        "window.main()\n"
    )
    for moment in ("loading", "answering"):
        command = [sys.executable, "-c", program, str(roomy_bundle), moment]
        done = subprocess.run(
            command, cwd=ROOT / "examples" / "desktop", capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "QThread" not in done.stderr


def test_the_window_is_short() -> None:
    lines = (ROOT / "examples" / "desktop" / "window.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150
