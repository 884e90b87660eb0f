"""A window that answers questions about pictures: choose, drop or paste one, and ask.

pip install '.[cpu]' -r examples/desktop/requirements.txt
python examples/desktop/window.py [BUNDLE]
"""

import sys

from answers import Answers
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import QBuffer, QMimeData, Qt
from PySide6.QtGui import QImage, QImageReader, QKeySequence, QPixmap, QTextCursor

from llava_edge import Chat, Options, Stream

OPTIONS = Options(max_tokens=400, when_full="shift")


class Words(QtWidgets.QLineEdit):
    """A line of words; a picture that is pasted goes to the window."""

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:
        paste, data = QKeySequence.StandardKey.Paste, QtGui.QGuiApplication.clipboard().mimeData()
        if not (event.matches(paste) and self.window().take(data)):
            super().keyPressEvent(event)


class Window(QtWidgets.QMainWindow):
    """A picture, the conversation about it, and a line for the next words."""

    def __init__(self, bundle: str | None) -> None:
        super().__init__(windowTitle="Ask about a picture", acceptDrops=True)
        self.resize(640, 600)
        self.chat: Chat | None = None  # until the bundle is loaded
        self.stream: Stream | None = None  # while an answer comes
        self.picture: str | bytes | None = None  # that goes with the next words
        self.shown = QtWidgets.QLabel("Choose, drop or paste a picture", minimumHeight=240)
        self.shown.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.talk = QtWidgets.QPlainTextEdit(readOnly=True, acceptDrops=False)
        self.words = Words(placeholderText="What do you want to know?", acceptDrops=False)
        self.choose = QtWidgets.QPushButton("Picture …", clicked=self.choose_picture)
        self.ask = QtWidgets.QPushButton("Ask", clicked=self.ask_or_stop, enabled=False)
        self.words.returnPressed.connect(self.send)
        grid = QtWidgets.QGridLayout()
        grid.addWidget(self.shown, 0, 0, 1, 3)
        grid.addWidget(self.talk, 1, 0, 1, 3)
        for column, widget in enumerate((self.choose, self.words, self.ask)):
            grid.addWidget(widget, 2, column)
        self.setCentralWidget(QtWidgets.QWidget())
        self.centralWidget().setLayout(grid)
        self.statusBar().showMessage("The model is being loaded …")
        self.words.setFocus()
        self.answers = Answers(bundle)
        self.answers.loaded.connect(self.begin)
        self.answers.said.connect(self.add)
        self.answers.ended.connect(self.end)
        self.answers.start()  # now that nothing it says is missed

    def begin(self, chat: Chat, about: str) -> None:
        self.chat = chat
        self.end(about)

    def ask_or_stop(self) -> None:
        self.send() if self.stream is None else self.stream.cancel()

    def send(self) -> None:
        words = self.words.text().strip()
        if self.chat is None or self.stream is not None or not words:
            return
        self.stream = self.chat.stream(words, self.picture, OPTIONS)  # computes nothing yet
        self.answers.begin(self.stream)
        self.add(f"> {words}\n", "The picture is being read …" if self.picture else "…")
        self.picture = None
        self.words.clear()
        self.ask.setText("Stop")

    def add(self, words: str, status: str) -> None:
        self.talk.moveCursor(QTextCursor.MoveOperation.End)
        self.talk.insertPlainText(words)
        self.statusBar().showMessage(status)

    def end(self, status: str) -> None:
        if self.stream is not None:
            self.add("\n\n", status)
        self.stream = None
        self.ask.setText("Ask")
        self.ask.setEnabled(self.chat is not None)
        self.statusBar().showMessage(status)

    def choose_picture(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, "Picture")
        if path:
            self.show_file(path)

    def take(self, data: QMimeData) -> bool:
        """Show the picture that was dropped or pasted, if there is one."""
        files = [url.toLocalFile() for url in data.urls() if url.isLocalFile()]
        if files:
            self.show_file(files[0])
        elif data.hasImage():
            image, buffer = QImage(data.imageData()), QBuffer()
            image.save(buffer, "PNG")
            self.show_picture(image, buffer.data().data())
        return bool(files) or data.hasImage()

    def show_file(self, path: str) -> None:
        reader = QImageReader(path)
        reader.setAutoTransform(True)  # turned as the camera was held
        self.show_picture(reader.read(), path)

    def show_picture(self, image: QImage, picture: str | bytes) -> None:
        self.picture = picture
        fitting = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        self.shown.setText("There is no preview of this file")
        if not image.isNull():
            self.shown.setPixmap(QPixmap.fromImage(image).scaled(self.shown.size(), *fitting))
        self.statusBar().showMessage("The picture goes with your next words")

    def dragEnterEvent(self, event: QtGui.QDragEnterEvent) -> None:
        if event.mimeData().hasUrls() or event.mimeData().hasImage():
            event.acceptProposedAction()

    def dropEvent(self, event: QtGui.QDropEvent) -> None:
        self.take(event.mimeData())

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:
        if self.stream is not None:
            self.stream.cancel()
        self.answers.begin(None)


def main() -> None:
    app = QtWidgets.QApplication(sys.argv)
    window = Window(sys.argv[1] if len(sys.argv) > 1 else None)
    window.show()
    code = app.exec()
    window.answers.join()  # at most a step of an answer, or the rest of loading
    sys.exit(code)


if __name__ == "__main__":
    main()
