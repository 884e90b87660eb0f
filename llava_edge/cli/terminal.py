"""Answers at a terminal: one, or a conversation with a few commands."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from rich.console import Console

from llava_edge.cli.shown_warnings import note as _note
from llava_edge.cli.shown_warnings import shown_warnings
from llava_edge.core.prompt import IMAGE
from llava_edge.errors import LlavaEdgeError
from llava_edge.runtime.answer import Piece
from llava_edge.runtime.model import Llava
from llava_edge.runtime.open_bundle import LoadProgress, LoadStage
from llava_edge.runtime.options import Options
from llava_edge.runtime.turn import Image

HELP = f"""Type your words, or
  /image PATH  show a picture with your next words (it stands first, or where you write {IMAGE})
  /save FILE   write the conversation to a file
  /load FILE   go on with one that was saved
  /reset       begin a new conversation
  /help        these lines
  /exit        end (or Ctrl-D)
Ctrl-C stops an answer; the arrow keys bring back what you typed."""

_ENDS = {
    "length": "; cut off at --max-tokens",
    "context": "; cut off, since the context is full",
    "timeout": "; cut off at --timeout",
}

_LOADING = {
    "files": "checking the bundle's files",
    "decoder": "loading the language model",
    "vision": "loading the vision tower",
}


@contextmanager
def shown_loading() -> Iterator[LoadProgress]:
    """Within it, a terminal shows how far a bundle is loaded, as this function is told."""
    with Console(stderr=True).status("") as status:
        yield lambda stage, done: status.update(_loading(stage, done))


@shown_warnings()
def answer_once(
    model: Llava,
    prompt: str,
    images: Sequence[Path],
    options: Options,
    system: str | None,
    *,
    as_json: bool,
) -> None:
    """Print one answer as it comes, its timings on stderr, or both as one JSON line."""
    _print_notes(model)
    pieces = model.stream(prompt, list(images) or None, options, system=system)
    if as_json:
        print(json.dumps({"device": model.device.name, **_as_json(list(pieces), options)}))
    else:
        _print_answer(pieces)


@shown_warnings()
def converse(model: Llava, images: Sequence[Path], options: Options, system: str | None) -> None:
    """Talk until the user ends it; errors are printed and the conversation goes on."""
    try:
        import readline  # noqa: F401  (gives input() its history; Windows has its own)
    except ImportError:
        pass
    conversation = _Conversation(model, options, system)
    for path in images:
        conversation.show(path)
    _print_notes(model)
    _note(f"{model.config.name} on {model.device.name}; /help says what can be typed")
    while conversation.take(_read_line()):
        pass


class _Conversation:
    """A chat, and the pictures that wait for the user's next words."""

    def __init__(self, model: Llava, options: Options, system: str | None) -> None:
        self._model = model
        self._options = options
        self._chat = model.chat(system)
        self._pictures: list[Image] = []

    def take(self, line: str) -> bool:
        """Do what a line says; False ends the conversation."""
        command, _, rest = line.partition(" ")
        if command in ("/exit", "/quit"):
            return False
        try:
            self._obey(command, rest.strip(), line)
        except LlavaEdgeError as error:
            _note(f"Error: {error}", style="red")
        except KeyboardInterrupt:
            _note("\n(stopped)")
        return True

    def show(self, path: Path) -> None:
        """Encode a picture now, so that the answer comes sooner."""
        tokens = self._options.image_tokens
        self._pictures.append(self._model.encode_image(path, tokens))
        _note(f"{path.name} goes with your next words")

    def _obey(self, command: str, rest: str, line: str) -> None:
        if command == "/image" and rest:
            self.show(Path(rest.strip("'\"")))
        elif command == "/save" and rest:
            self._chat.save(Path(rest).expanduser())
            _note(f"{rest} holds the conversation so far")
        elif command == "/load" and rest:
            self._chat = self._model.load_chat(Path(rest).expanduser())
            _note(f"the conversation of {rest} goes on")
        elif command == "/reset":
            self._chat.reset()
            self._pictures = []
            _note("a new conversation")
        elif command.startswith("/") and "/" not in command[1:]:
            _note(HELP)
        elif line.strip():
            self._ask(line)

    def _ask(self, line: str) -> None:
        forgotten = self._chat.forgotten
        pieces = self._chat.stream(line, self._pictures or None, self._options)
        self._pictures = []
        _print_answer(pieces)
        if (turns := self._chat.forgotten - forgotten) > 0:
            _note(f"the context was full, so that the oldest turns were forgotten ({turns})")


def _read_line() -> str:
    """The next line; Ctrl-D is /exit, and Ctrl-C begins the line anew."""
    try:
        return input("> ")
    except EOFError:
        print()
        return "/exit"
    except KeyboardInterrupt:
        print()
        return ""


def _print_answer(pieces: Iterator[Piece]) -> None:
    for piece in chain([_await_words(pieces)], pieces):
        print(_printable(piece.text), end="", flush=True)
    print()
    _note(_summary(piece))


def _await_words(pieces: Iterator[Piece]) -> Piece:
    """The first piece with words; until then a terminal shows what is being done."""
    piece = next(pieces)
    if piece.text or piece.finish:
        return piece
    with Console(stderr=True).status("") as status:
        while not (piece.text or piece.finish):
            status.update(_doing(piece))
            piece = next(pieces)
    return piece


def _loading(stage: LoadStage, done: float) -> str:
    return _LOADING[stage] + (f", {done:.0%}" if 0 < done < 1 else "")


def _doing(piece: Piece) -> str:
    """What is being done after a piece without words."""
    timings = piece.timings
    if piece.stage == "encoding":
        return f"encoding picture {timings.encoded_pictures + 1} of {timings.pictures}"
    read = timings.cached_tokens + timings.prefilled_tokens
    return f"{read:,} of {timings.prompt_tokens:,} tokens read"


def _as_json(pieces: Sequence[Piece], options: Options) -> dict[str, object]:
    """An answer for programs."""
    text, last = "".join(piece.text for piece in pieces), pieces[-1]
    found: dict[str, object] = {
        "text": text,
        "finish": last.finish,
        "timings": asdict(last.timings),
    }
    if options.logprobs is not None:
        found["logprobs"] = [asdict(token) for piece in pieces for token in piece.logprobs]
    return found


def _printable(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(
        char for char in text if char in "\n\t" or not (char < " " or "\x7f" <= char < "\xa0")
    )


def _summary(last: Piece) -> str:
    timings = last.timings
    return (
        f"{timings.generated_tokens} tokens, first after {timings.ttft_seconds:.2f} s, "
        f"then {timings.tokens_per_second:.0f} tokens/s{_ENDS.get(last.finish or '', '')}"
    )


def _print_notes(model: Llava) -> None:
    for note in model.notes:
        _note(note)
