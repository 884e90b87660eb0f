"""What the text of an option stands for; each function raises UsageError for other text."""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from llava_edge.core.bundle_config import DeviceName
from llava_edge.data.records import Data
from llava_edge.errors import UsageError
from llava_edge.runtime.options import Options


def pairs(option: str, given: list[str] | None, example: str) -> dict[str, float]:
    """NAME=VALUE pairs."""
    pairs = {}
    for pair in given or ():
        name, _, value = pair.partition("=")
        try:
            pairs[name] = float(value)
        except ValueError:
            raise UsageError(
                f'--{option} is "{pair}", but NAME=VALUE was expected, such as {example}.'
            ) from None
    return pairs


def limits(given: list[str] | None) -> dict[str, float]:
    """Limits of a comparison by name."""
    return pairs("limit", given, "kl_mean=0.1")


def records_of(records: Path | None, images: Path | None) -> Data | None:
    """The records to measure on, with their pictures."""
    if records is None:
        if images is not None:
            raise UsageError("--images is the folder of the records' pictures; give --records too.")
        return None
    return Data((records,), images or records.parent)


def graphs_for(listed: str) -> tuple[DeviceName, ...]:
    """The devices of a list with commas, in the order that a bundle lists them in."""
    wanted = {name.strip() for name in listed.split(",")}
    if not wanted <= set(get_args(DeviceName)):
        raise UsageError(f'The devices are "{listed}"; give cpu, gpu or cpu,gpu.')
    return tuple(name for name in get_args(DeviceName) if name in wanted)


def numbers(option: str, listed: str | None) -> list[int] | None:
    """The whole numbers of a list with commas."""
    try:
        return None if listed is None else [int(number) for number in listed.split(",")]
    except ValueError:
        raise UsageError(
            f'--{option} is "{listed}", but numbers with commas were expected, such as 128,600.'
        ) from None


def options_of(given: list[str] | None) -> Options:
    """Options from KEY=VALUE, whose values are JSON, or else words."""
    found: dict[str, Any] = {}
    known = [field.name for field in fields(Options)]
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or key not in known:
            raise UsageError(
                f'--set is "{pair}"; give KEY=VALUE, where KEY is one of {", ".join(known)}.'
            )
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    if isinstance(bias := found.get("logit_bias"), dict):
        found["logit_bias"] = {int(i) if i.isdecimal() else i: b for i, b in bias.items()}
    return Options(**found)


def gigabytes(option: str, given: float | None) -> int | None:
    """Bytes for a number of gigabytes."""
    if given is not None and not 0 < given < math.inf:
        raise UsageError(f"--{option} is {given}; give GB, more than 0.")
    return None if given is None else int(given * 1e9)


def text_of(option: str, path: Path | None) -> str | None:
    """The text of the file that an option names."""
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"--{option} {path} cannot be read ({error}); name a text file.") from None


def check_folders(*files: Path | None) -> None:
    """What is written in the end must have a folder to go to."""
    for file in files:
        if file is not None and not file.resolve().parent.is_dir():
            raise UsageError(
                f"{file} cannot be written, since its folder is missing; make it first."
            )
