"""A decoded sample, in any of the shapes that people have, becomes a record."""

from collections.abc import Mapping, Sequence
from typing import Any

from llava_edge.core.picture import TarMember
from llava_edge.core.prompt import IMAGE, WrittenMessage
from llava_edge.data.json_stream import NotJson
from llava_edge.data.picture_folder import PictureFile, PictureFolder
from llava_edge.data.record_types import BadRecord, LabelledBox, Record
from llava_edge.data.sample_faults import MEANT, SampleError, is_learned, refuse_other_media
from llava_edge.data.sample_pictures import NamedPicture, pictures_of
from llava_edge.data.sample_turns import LISTS, TURN_KEYS, list_of, turns_of

_KEYS = {"id", "image", "images", "system", "objects", *LISTS, *MEANT}
# What a value of another form than a sample raises where it is read as one.
_NO_SAMPLE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


def read_sample(
    sample: Any, folder: PictureFolder, own: Sequence[TarMember], number: int
) -> Record | BadRecord:
    """A sample's record, with the pictures that are its own or those that it names or holds.

    `number` stands for the id that a sample lacks.
    """
    if isinstance(sample, NotJson):
        return BadRecord("not JSON", f"is not JSON ({sample.reason}); mend it or drop it.")
    try:
        return _record(sample, folder, own, number)
    except SampleError as error:
        return error.record
    except _NO_SAMPLE as error:
        return BadRecord(
            "not a LLaVA sample",
            f"is not a LLaVA sample ({error!r}); it needs conversations of human and gpt turns "
            "with a value each, or messages of user and assistant with content.",
        )


def counted(
    sample: Any, folder: PictureFolder, own: Sequence[TarMember]
) -> tuple[tuple[PictureFile, ...], int]:
    """A bad sample's pictures and characters, or none where they cannot be read."""
    try:
        messages, parts = turns_of(sample)
        named = _found(pictures_of(sample) or [part for part in parts if part is not None], folder)
    except (SampleError, *_NO_SAMPLE):
        return (), 0
    return tuple(own or named), sum(len(message.text) for message in messages)


def unread_keys(sample: Any) -> list[str]:
    """The keys of a sample and its turns that nothing is done with."""
    if not isinstance(sample, Mapping):
        return []
    unread = sample.keys() - _KEYS
    try:
        more = [turn for turn in list_of(sample) if len(turn) > 2]
        unread |= {f"{LISTS[0]}.{key}" for turn in more for key in turn.keys() - TURN_KEYS}
    except (SampleError, *_NO_SAMPLE):
        pass
    return sorted(map(str, unread))


def _record(
    sample: Mapping[str, Any], folder: PictureFolder, own: Sequence[TarMember], number: int
) -> Record:
    refuse_other_media(sample)
    messages, parts = turns_of(sample)
    _check_turns(messages)
    if not (is_learned(sample) and any(m.learned for m in messages if m.role == "assistant")):
        raise SampleError(
            "nothing to learn", "leaves all its answers out of the loss; drop the record."
        )
    pictures: Sequence[PictureFile] = own or _found(_joined(parts, pictures_of(sample)), folder)
    places = sum(message.text.count(IMAGE) for message in messages)
    if places != len(pictures):
        raise SampleError(
            f"{IMAGE} count",
            f"names {len(pictures)} pictures and says {IMAGE} {places} times; every picture needs "
            "it once.",
        )
    boxes = tuple(map(_labelled_box, sample.get("objects") or ()))
    id = sample.get("id")
    name = str(number if id is None else id)
    name.encode()
    return Record(name, tuple(pictures), tuple(messages), boxes)


def _check_turns(messages: Sequence[WrittenMessage]) -> None:
    roles = [message.role for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise SampleError(
            "turns out of order",
            "does not alternate between human and gpt, ending with gpt; mend its turns or drop it.",
        )


def _joined(parts: Sequence[NamedPicture | None], named: list[NamedPicture]) -> list[NamedPicture]:
    """The parts' pictures, or those that the sample names for parts that only say where."""
    own = [part for part in parts if part is not None]
    if own and (named or len(own) != len(parts)):
        raise SampleError(
            "pictures named twice",
            "has pictures in its turns and others beside them; keep them in one place.",
        )
    return own or named


def _found(named: Sequence[NamedPicture], folder: PictureFolder) -> list[PictureFile]:
    return [one if isinstance(one, bytes) else folder.find(one) for one in named]


def _labelled_box(item: Mapping[str, Any]) -> LabelledBox:
    left, top, right, bottom = map(float, item["box"])
    name = str(item["name"])
    name.encode()
    return LabelledBox(name, (left, top, right, bottom))
