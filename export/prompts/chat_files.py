"""The files that say how a checkpoint's conversations are written and what ends an answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError

SIZE = 1_000_000  # bytes of a chat template; those of real models have some thousands
JINJA = "chat_template.jinja"
_MORE = Path("additional_chat_templates") / "default.jinja"


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template's text, the file that it is from, and whether it is the processor's."""

    text: str
    path: Path
    of_processor: bool


def find_template(folder: Path, *, processor: bool) -> ChatTemplate | None:
    """The template that transformers 5 takes for a folder: the processor's, else the tokenizer's.

    Without `processor`, the folder is known to have none. Raises CheckpointError for broken files.
    """
    found = _of_processor(folder) if processor else None
    found = found or _jinja(folder, processor=processor) or _of_tokenizer(folder)
    if found is not None and len(found.text.encode(errors="replace")) > SIZE:
        raise CheckpointError(
            f"The chat template in {found.path} is larger than {SIZE:,} bytes, so it is taken for "
            "no template; choose a format with --prompt."
        )
    return found


def read_section(path: Path) -> Section:
    """What a JSON file says; nothing where it is missing."""
    return Section.from_file(path) if path.exists() else Section({}, str(path))


def _of_processor(folder: Path) -> ChatTemplate | None:
    """What the processor's JSON files hold; transformers 4 lets chat_template.json go first."""
    for name in ("processor_config.json", "chat_template.json"):
        text = _value(read_section(folder / name))
        if text is not None:
            return ChatTemplate(text, folder / name, of_processor=True)
    return None


def _jinja(folder: Path, *, processor: bool) -> ChatTemplate | None:
    for path in (folder / JINJA, folder / _MORE):
        if path.exists():
            return ChatTemplate(_read(path), path, of_processor=processor)
    return None


def _of_tokenizer(folder: Path) -> ChatTemplate | None:
    path = folder / "tokenizer_config.json"
    text = _value(read_section(path))
    return None if text is None else ChatTemplate(text, path, of_processor=False)


def _value(section: Section) -> str | None:
    """The key `chat_template`: a text, or the one called "default" among several."""
    named = dict(_named(section, section.values.get("chat_template")))
    return named.get("default")


def _named(section: Section, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        value = [{"name": name, "template": text} for name, text in value.items()]
    if not isinstance(value, list):
        if section.has("chat_template"):
            yield "default", section.text("chat_template")
        return
    for entry in value:
        one = Section(entry if isinstance(entry, dict) else {}, f"chat_template in {section.where}")
        yield one.text("name"), one.text("template")


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SIZE + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a chat template ({error}); fetch the file anew, or choose a "
            "format with --prompt."
        ) from None


def token_text(value: Any) -> str | None:
    """A token as transformers writes one: its text, or an object that holds it."""
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None
