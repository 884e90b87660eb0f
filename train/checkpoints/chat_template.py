"""A prompt format as a chat template, by which transformers writes what was trained."""

from pathlib import Path

from tokenizers import Tokenizer

from llava_edge.core.bundle_config import PromptConfig, Role

FILE = "chat_template.jinja"  # which goes before a template in tokenizer_config.json


def write_chat_template(
    prompt: PromptConfig, image_token: str, tokenizer: Tokenizer, folder: Path
) -> None:
    """Write the template of the format that was trained, unless the folder has one already."""
    if not (folder / FILE).exists() and not (folder / "chat_template.json").exists():
        text = chat_template(prompt, image_token, tokenizer)
        (folder / FILE).write_text(text, encoding="utf-8")


def chat_template(prompt: PromptConfig, image_token: str, tokenizer: Tokenizer) -> str:
    """The Jinja template of a prompt format, for messages whose content is a string or parts.

    `bos` is written unless the tokenizer puts it before every text by itself.
    """
    bos = "" if _begins_with(prompt.bos, tokenizer) else prompt.bos
    system = _content("messages[0]", "system", prompt, image_token)
    user = _content("message", "user", prompt, image_token)
    answer = _content("message", "assistant", prompt, image_token)
    return (
        f"{_text(bos)}{{% set turns = messages %}}"
        "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
        f"{_place_of_system(prompt, system)}{{% else %}}{_text(prompt.opening)}{{% endif %}}"
        "{% for message in turns %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('user and assistant must take turns') }}{% endif %}"
        "{% if message['role'] == 'user' %}"
        f"{{% if not loop.first %}}{_text(prompt.turn_separator)}{{% endif %}}"
        f"{_text(prompt.user_prefix)}{user}"
        f"{{% if add_generation_prompt or not loop.last %}}{_text(_opened(prompt))}{{% endif %}}"
        "{% else %}"
        f"{{% generation %}}{_text(prompt.answer_prefix)}{answer}"
        f"{_text(prompt.assistant_suffix)}{{% endgeneration %}}"
        "{% endif %}{% endfor %}"
    )


def _opened(prompt: PromptConfig) -> str:
    return prompt.user_suffix + prompt.assistant_prefix


def _place_of_system(prompt: PromptConfig, content: str) -> str:
    if prompt.system_prefix is None:
        return "{{ raise_exception('there is no place for system words') }}"
    return f"{_text(prompt.system_prefix)}{content}{_text(prompt.system_suffix)}"


def _content(message: str, role: Role, prompt: PromptConfig, image_token: str) -> str:
    """What a message says: a string as it is, parts as the format places them."""
    trim = " | trim" if role in prompt.trimmed else ""
    parts = f"{message}['content']"
    words = f"{{{{ part['text']{trim} }}}}"
    picture = _text(prompt.image_prefix + image_token + prompt.image_suffix)
    if prompt.pictures == "first" and role == "user":
        listed = (
            f"{{% for part in {parts} if part['type'] == 'image' %}}{picture}{{% endfor %}}"
            f"{_text(prompt.words_prefix)}"
            f"{{% for part in {parts} if part['type'] == 'text' %}}"
            f"{{% if not loop.first %}}{_text(prompt.words_gap)}{{% endif %}}{words}{{% endfor %}}"
        )
    else:
        begun = prompt.words_prefix if role == "user" else ""
        listed = (
            f"{{% for part in {parts} %}}{{% if part['type'] == 'image' %}}{picture}{{% else %}}"
            f"{{% if loop.first %}}{_text(begun)}{{% endif %}}{words}{{% endif %}}{{% endfor %}}"
        )
    before = _text(prompt.words_prefix) if role == "user" else ""
    return (
        f"{{% if {parts} is string %}}{before}{{{{ {parts}{trim} }}}}{{% else %}}{listed}"
        "{% endif %}"
    )


def _text(text: str) -> str:
    """A text as an expression, so that no white space of it is lost."""
    quoted = text.encode("unicode_escape").decode().replace("'", "\\'")
    return f"{{{{ '{quoted}' }}}}" if text else ""


def _begins_with(token: str, tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer begins every text with a token."""
    return bool(token) and tokenizer.encode("a").ids[:1] == [tokenizer.token_to_id(token)]
