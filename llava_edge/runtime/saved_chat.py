"""A conversation in a file: its turns, pictures and KV cache, in numpy's npz format."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llava_edge.core.files import write_atomically
from llava_edge.core.prompt import Message, Part, Picture
from llava_edge.errors import StateError, UsageError
from llava_edge.runtime.image_embeddings import ImageEmbeddings
from llava_edge.runtime.kv_cache import CacheNumbers
from llava_edge.runtime.turn import Turn

VERSION = 3


@dataclass(frozen=True)
class SavedChat:
    """A conversation: its system words, its turns, and what its KV cache held."""

    system: str | None
    turns: list[Turn]
    cache: CacheNumbers


def write_chat(path: Path, fingerprint: str, chat: SavedChat) -> None:
    """Write a conversation, whole or not at all; raises StateError where that fails."""
    pictures = {picture.key.hex(): picture.rows for turn in chat.turns for picture in turn.pictures}
    about = {
        "version": VERSION,
        "bundle": fingerprint,
        "system": chat.system,
        "turns": [
            {"question": list(map(_saved, turn.question.content)), "answer": turn.answer}
            for turn in chat.turns
        ],
    }
    file = io.BytesIO()
    np.savez(file, about=np.array(json.dumps(about)), cache=chat.cache, **pictures)  # type: ignore[arg-type]
    try:
        write_atomically(path, file.getvalue())
    except OSError as error:
        raise StateError(
            f"{path} cannot be written ({error.strerror}); name another file or make room."
        ) from error


def read_chat(path: Path, fingerprint: str, shape: tuple[int, ...]) -> SavedChat:
    """A conversation whose KV cache has this shape; raises StateError."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            _check(path, about, fingerprint)
            system = None if about["system"] is None else str(about["system"])
            turns = [_turn(turn, file) for turn in about["turns"]]
            cache: CacheNumbers = file["cache"]
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror}); name another file.") from error
    except (ValueError, KeyError, TypeError, EOFError, UsageError, zipfile.BadZipFile) as error:
        raise StateError(
            f"{path} is no saved conversation, or a damaged one; name a file that Chat.save wrote."
        ) from error
    held = cache.shape[:3] + cache.shape[4:]
    if held != shape[:3] + shape[4:] or cache.shape[3] > shape[3]:
        raise StateError(
            f"The conversation in {path} holds {cache.shape[3]:,} tokens, and the context of this "
            f"model {shape[3]:,}; load the bundle with a larger context."
        )
    return SavedChat(system, turns, cache)


def _check(path: Path, about: dict[str, object], fingerprint: str) -> None:
    if about["version"] != VERSION:
        raise StateError(
            f"{path} was saved in version {about['version']}, and this program reads {VERSION}; "
            "use the program that saved it, or begin a new conversation."
        )
    if about["bundle"] != fingerprint:
        raise StateError(
            f"{path} was saved with another bundle; load that one, or begin a new conversation."
        )


def _saved(part: Part) -> str | dict[str, str]:
    """Words as they are, and a picture by its key."""
    if isinstance(part, str):
        return part
    assert isinstance(part.source, ImageEmbeddings)
    return {"picture": part.source.key.hex()}


def _turn(turn: dict[str, list[Any]], file: "np.lib.npyio.NpzFile") -> Turn:
    parts = tuple(
        part if isinstance(part, str) else Picture(ImageEmbeddings(file[part["picture"]]))
        for part in turn["question"]
    )
    return Turn(Message("user", parts), [int(id) for id in turn["answer"]])
