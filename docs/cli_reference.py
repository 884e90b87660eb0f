"""The reference of the command line: each verb with the help of its arguments and options."""

from collections.abc import Callable, Iterator
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from textwrap import fill
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from typer import Typer
from typer.models import ArgumentInfo, OptionInfo

from llava_edge.cli.main import app

INTRODUCTION = """\
# Command line

What `llava-edge VERB --help` says, on one page. `make docs` writes this page anew. `--help`, or
`-h`, goes with every verb.
"""
VALUES = {str: "TEXT", Path: "PATH", int: "INTEGER", float: "NUMBER"}


def cli_reference() -> str:
    """The page, as Markdown."""
    return "\n".join([INTRODUCTION, *_verbs(app, "llava-edge")])


def _verbs(group: Typer, name: str) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield _verb(f"{name} {command.callback.__name__}", command.callback)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _verbs(inner.typer_instance, f"{name} {inner.name}")


def _verb(name: str, function: Callable[..., object]) -> str:
    parameters = signature(function, eval_str=True).parameters.values()
    arguments = [p for p in parameters if isinstance(_info(p), ArgumentInfo)]
    options = [p for p in parameters if isinstance(_info(p), OptionInfo)]
    usage = " ".join([name, "[OPTIONS]", *map(_argument_name, arguments)])
    lines = [f"## {name}\n", f"{_wrapped(cleandoc(function.__doc__ or ''))}\n", f"    {usage}\n"]
    lines += [_item(f"`{_argument_name(p)}`", p) for p in arguments]
    lines += [_item(f"`{_option_name(p)}`", p) for p in options]
    return "\n".join(lines) + "\n"


def _info(parameter: Parameter) -> ArgumentInfo | OptionInfo:
    """What typer is told about a parameter."""
    info: ArgumentInfo | OptionInfo = parameter.annotation.__metadata__[0]
    return info


def _item(name: str, parameter: Parameter) -> str:
    info = _info(parameter)
    return _wrapped(f"- {name}: {info.help}{_default(parameter, info)}", indent="  ")


def _wrapped(text: str, indent: str = "") -> str:
    return fill(text, 100, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _argument_name(parameter: Parameter) -> str:
    name = parameter.name.upper()
    return name if parameter.default is Parameter.empty else f"[{name}]"


def _option_name(parameter: Parameter) -> str:
    info = _info(parameter)
    written = [info.default] if isinstance(info.default, str) else []  # Option("--json", ...)
    name = "/".join(written) or f"--{parameter.name.replace('_', '-')}"
    return f"{name} {info.metavar or _value(parameter.annotation)}".rstrip()


def _value(annotation: Any) -> str:
    """What stands after an option; nothing after a flag."""
    if get_origin(annotation) is Annotated:
        return _value(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    if get_args(annotation):  # such as int | None, or list[str]
        return _value(next(part for part in get_args(annotation) if part is not NoneType))
    return VALUES.get(annotation, "")


def _default(parameter: Parameter, info: ArgumentInfo | OptionInfo) -> str:
    if parameter.default is Parameter.empty:
        return " Required." if isinstance(info, OptionInfo) else ""
    if isinstance(info.show_default, str):
        return f" Default: {info.show_default}."
    nothing = parameter.default is None or parameter.default is False
    return "" if nothing else f" Default: `{parameter.default}`."
