"""Templates are rendered as transformers renders them, and hostile ones within limits."""

from datetime import datetime
from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from llava_edge.errors import CheckpointError
from llava_edge.export.prompts.chat_files import ChatTemplate
from llava_edge.export.prompts.render_template import Conversation, TemplateRenderer

MESSAGES = [
    {"role": "user", "content": "<b> & \u6f22 'x'"},
    {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
]
TEMPLATES = {
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=1) }}",
    "blocks": "{% for m in messages %}\n    {% if m.role == 'user' %}\nu\n    {% endif %}\n"
    "{% endfor %}\n",
    "loop controls": "{% for m in messages %}{% if not loop.first %}{% break %}{% endif %}a"
    "{% endfor %}",
    "generation": "a {% generation %}{% set x = 1 %}b\n{% endgeneration %} {{ x is defined }}",
    "no escapes": "{{ messages[0].content }}",
    "absent": "{{ tools is none }}{{ documents }}{{ nothing }}{{ add_generation_prompt }}",
    "variables": "{{ bos_token }}",
    "namespace": "{% set n = namespace(i=0) %}{% for m in messages %}{% set n.i = n.i + 1 %}"
    "{% endfor %}{{ n.i }}",
    "macro": "{% macro say(x) %}[{{ x }}]{% endmacro %}{{ say(messages | length) }}",
}
HOSTILE = {
    "never ends": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "writes on and on": "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    "grows": "{% set n = namespace(x='xx') %}{% for i in range(60) %}"
    "{% set n.x = n.x.replace('x', 'xx') %}{% endfor %}{{ n.x }}",
    "is large": "{{ 'x'.ljust(9999999999) }}",
    "calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
}
ESCAPES = (
    "{{ messages.__class__.__mro__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ ''.format.__globals__ }}",
    "{{ messages.append(1) }}",
    "{{ strftime_now.__self__ }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{% include '/etc/passwd' %}",
)


def rendered(template: str, seconds: int = 20) -> str | None:
    one = ChatTemplate(template, Path("chat_template.jinja"), of_processor=True)
    renderer = TemplateRenderer(one, {"bos_token": "<s>"}, datetime(2026, 2, 3), seconds)
    (text,) = renderer([Conversation(MESSAGES, open=True)])
    return text


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_is_that_of_transformers(name: str) -> None:
    expected, _ = render_jinja_template(
        [MESSAGES], chat_template=TEMPLATES[name], add_generation_prompt=True, bos_token="<s>"
    )
    assert rendered(TEMPLATES[name]) == expected[0]


def test_the_clock_is_the_renderers() -> None:
    assert rendered("{{ strftime_now('%d %m %Y') }}") == "03 02 2026"


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{{ x.y.z }}", "{{ 1 / 0 }}"])
def test_a_refusal_is_no_text(template: str) -> None:
    assert rendered(template) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"chat_template.jinja cannot be rendered .*--prompt"):
        rendered(HOSTILE[name], seconds=1)


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_is_reached_from_inside(template: str) -> None:
    assert not rendered(template)


def test_a_broken_template_is_one_sentence() -> None:
    with pytest.raises(CheckpointError, match=r"\(line 2: .*endfor.*\); correct it"):
        rendered("a\n{% for x in y %}")
