"""The questions of files: a prompt with its pictures, LLaVA's question files, and records.

Of a record's conversation the user's turns are asked, one after another; the answers that it holds
are not read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from llava_edge.core.prompt import IMAGE
from llava_edge.data.json_stream import NotJson
from llava_edge.data.picture_folder import PictureFile, PictureFolder
from llava_edge.data.records import Data
from llava_edge.data.sample_faults import SampleError, refuse_other_media
from llava_edge.data.sample_files import read_samples
from llava_edge.data.sample_pictures import NamedPicture, pictures_of
from llava_edge.data.sample_turns import LISTS, turns_of

_IDS = ("id", "question_id")
_PROMPTS = ("prompt", "question", "text")  # the last is LLaVA's own
_WRONG = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

AskedTurn = tuple[str, tuple[PictureFile, ...]]  # words as the file has them, and their pictures


@dataclass(frozen=True)
class Question:
    """What is asked in one conversation, turn by turn, or why it cannot be."""

    id: object  # as the file has it, or else the number of the question, from 1
    system: str | None = None
    turns: tuple[AskedTurn, ...] = ()
    is_conversation: bool = False  # as the file has it
    problem: str = ""  # in place of the turns


def read_questions(data: Data) -> Iterator[Question]:
    """The questions of files, in order; raises RecordError for a file that cannot be read."""
    yield from islice(_questions(data), data.limit)


def _questions(data: Data) -> Iterator[Question]:
    folder, number = PictureFolder(data.images), 0
    for file in data.files:
        for sample in read_samples(file):
            number += 1
            yield question_of(sample.value, folder, sample.pictures, number)


def question_of(
    sample: Any, folder: PictureFolder, own: Sequence[PictureFile] = (), number: int = 0
) -> Question:
    """The question of a decoded sample.

    `own` are the pictures that a shard holds beside it; `number` stands for an id that it lacks.
    """
    if isinstance(sample, NotJson):
        return Question(number, problem=f"It is not JSON ({sample.reason}).")
    try:
        id = next((sample[key] for key in _IDS if sample.get(key) is not None), number)
    except _WRONG:
        return Question(number, problem="It is no JSON object.")
    try:
        refuse_other_media(sample)
        listed = any(sample.get(key) is not None for key in LISTS)
        prompts, system, named = _conversation(sample) if listed else _single(sample)
        found = own or [folder.find(one) if isinstance(one, str) else one for one in named]
        return Question(id, system, tuple(_parted(prompts, found)), is_conversation=listed)
    except SampleError as error:
        return Question(id, problem=f"It {error.record.sentence}")
    except _WRONG as error:
        return Question(
            id, problem=f"It is no question ({error}); it needs a prompt, or conversations."
        )


def _single(sample: Mapping[str, Any]) -> tuple[list[str], str | None, list[NamedPicture]]:
    prompt = next((sample[key] for key in _PROMPTS if sample.get(key) is not None), None)
    if not isinstance(prompt, str):
        raise ValueError("there is no text under prompt, question or text")
    system, named = sample.get("system"), pictures_of(sample)
    return [prompt], None if system is None else str(system), named


def _conversation(sample: Mapping[str, Any]) -> tuple[list[str], str | None, list[NamedPicture]]:
    messages, parts = turns_of(sample)
    system = next((message.text for message in messages if message.role == "system"), None)
    questions = [message.text for message in messages if message.role == "user"]
    if not questions:
        raise ValueError("the user says nothing")
    own = [part for part in parts if part is not None]
    return questions, system, own or pictures_of(sample)


def _parted(texts: Sequence[str], pictures: Sequence[PictureFile]) -> Iterator[AskedTurn]:
    """The texts, each with the pictures whose places it names."""
    places = [text.count(IMAGE) for text in texts]
    if not any(places):
        places[0] = len(pictures)  # which stand before the first words
    if sum(places) != len(pictures):
        raise ValueError(f"it has {len(pictures)} pictures and says {IMAGE} {sum(places)} times")
    rest = iter(pictures)
    for text, count in zip(texts, places, strict=True):
        yield text, tuple(islice(rest, count))
