"""Why a record has a problem, in a sentence for its reader."""

from llava_edge.core.picture import load_picture
from llava_edge.data.records import Entry, require_pictures
from llava_edge.errors import PictureError, RecordError

_WORDS = {
    "empty answer": "has an answer without words; write it or drop the record.",
    "no answer within max_tokens": "has no word of an answer within the recipe's max_tokens; raise "
    "that or shorten the record.",
    "no place for system words": "has system words, for which the recipe's prompt format has no "
    "place; drop them or choose another format.",
    "too long": "has more tokens than the recipe's max_tokens, so that training cuts it off.",
}


def reason(entry: Entry, problem: str) -> str:
    """What is wrong with an entry that has a problem, beginning with where it stands."""
    if problem in _WORDS:
        return f"{entry.where} {_WORDS[problem]}"
    return fault(entry) or f"{entry.where} was mended since it was checked."


def fault(entry: Entry) -> str | None:
    """What is wrong with an entry's record or its pictures, or None."""
    try:
        require_pictures(entry.record, entry.where)
        for picture in entry.record.images:
            load_picture(picture)
    except RecordError as error:
        return str(error)
    except PictureError as error:
        return f"{entry.where}: {error}"
    return None
