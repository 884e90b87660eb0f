"""A process that renders chat templates, which are other people's programs, and ends.

It is run as a file: `{"template", "seconds", "requests"}` comes as JSON on standard input, each
request being what the template sees, and `now`, the time of its clock. Out goes `{"texts": [...]}`,
with null for a conversation that the template refuses, or `{"error": ...}` for what is no template.
The environment is that of transformers' `utils/chat_template_utils.py`.
"""

import json
import sys
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LENGTH = 1_000_000  # characters that a conversation may be rendered as
MEMORY = 2**30  # bytes of address space


class Generation(Extension):
    """`{% generation %}`, by which templates mark what the assistant says."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _raise
    return environment


def _limit(seconds: int) -> None:
    """Hold the process to its time and memory, where the system can."""
    try:
        import resource
    except ImportError:  # on Windows; there the parent's clock alone holds it
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _text(template: jinja2.Template, request: dict[str, Any]) -> str | None:
    now = datetime.fromisoformat(request["now"])
    variables = {**request, "strftime_now": now.strftime}
    del variables["now"]
    parts, length = [], 0
    try:
        for part in template.generate(variables):
            length += len(part)
            if length > LENGTH:
                raise MemoryError(f"a conversation becomes more than {LENGTH:,} characters")
            parts.append(part)
        text = "".join(parts)
        text.encode()
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever a template does: raise_exception, or what it does not expect
        return None
    return text


def _answer(given: dict[str, Any]) -> dict[str, Any]:
    _limit(given["seconds"])
    try:
        template = _environment().from_string(given["template"])
        return {"texts": [_text(template, request) for request in given["requests"]]}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"}
    except MemoryError as error:
        return {"error": str(error) or "it takes too much memory"}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))
