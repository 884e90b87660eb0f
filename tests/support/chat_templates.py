"""Chat templates of the kinds that real checkpoints bring, written for the tests."""

from dataclasses import dataclass, field

_TEXTS = "message['content'] | selectattr('type', 'equalto', 'text')"
_IMAGES = "message['content'] | selectattr('type', 'equalto', 'image')"
_PICTURES = f"{{% for part in {_IMAGES} %}}{{{{ '<image>\\n' }}}}{{% endfor %}}"
_WORDS = f"{{% for part in {_TEXTS} %}}{{{{ part['text'] }}}}{{% endfor %}}"
_OPEN = "{% if add_generation_prompt %}"
CHATML_TURN = (
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
)
CHATML_OPEN = _OPEN + "{{ '<|im_start|>assistant\\n' }}{% endif %}"
LLAMA_3_OPEN = _OPEN + "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
)


@dataclass(frozen=True)
class Kind:
    """A template, and the vocabulary that it is written for."""

    template: str
    special: tuple[str, ...] = ("<unk>", "<s>", "</s>")
    bos: str | None = "<s>"
    eos: str = "</s>"
    level: str = "byte"  # or "words", or how Llama's puts its space: "prepend", "first", "always"
    adds_bos: bool = True
    traits: tuple[str, ...] = field(default=())  # of the plainest conversation that differs


_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA_3 = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
_PHI = ("<|endoftext|>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


def _qwen(template: str, **changes: object) -> Kind:
    return Kind(template, _QWEN, None, "<|im_end|>", adds_bos=False, **changes)  # type: ignore[arg-type]


def _llama_3(template: str) -> Kind:
    return Kind(template, _LLAMA_3, "<|begin_of_text|>", "<|eot_id|>", "words")


_VICUNA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': ' }}{% endif %}"
    + _PICTURES
    + f"{{% for part in {_TEXTS} %}}{{% if message['role'] == 'assistant' %}}"
    "{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}{% else %}"
    "{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    + _OPEN
    + "{{ 'ASSISTANT:' }}{% endif %}"
)
_ONEVISION = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    + _PICTURES
    + _WORDS
    + "{{ '<|im_end|>\\n' }}{% endfor %}"
    + CHATML_OPEN
)
_HEADER = "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"

# For processors, which give messages as lists of parts.
PROCESSORS = {
    "llava-1.5": Kind(_VICUNA, level="prepend"),
    "llava-1.5, byte level": Kind(_VICUNA),
    "llava-1.6-vicuna, metaspace first": Kind(_VICUNA, level="first"),
    "llava-1.6-vicuna, no bos": Kind(_VICUNA, level="first", adds_bos=False),
    "llava-1.6-mistral": Kind(
        "{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ '<<SYS>>\\n' + message['content'][0]['text'] + '\\n<</SYS>>\\n\\n' }}"
        "{% elif message['role'] == 'user' %}{{ '[INST] ' }}"
        + _PICTURES
        + _WORDS
        + "{{ ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}"
        "{{ ' ' + message['content'][0]['text'] + '<\\\\s> ' }}"
        "{% else %}{{ raise_exception('Unknown role') }}{% endif %}{% endfor %}",
        level="prepend",
    ),
    "onevision": _qwen(_ONEVISION),
    "llama3-llava-next": _llama_3(
        "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
        + _HEADER
        + _PICTURES
        + f"{{% for part in {_TEXTS} %}}{{{{ part['text'] | trim }}}}{{% endfor %}}"
        + "{{ '<|eot_id|>' }}{% endfor %}"
        + LLAMA_3_OPEN
    ),
    "fastvlm": _qwen(
        "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' }}"
        + f"{{% for part in {_IMAGES} %}}{{{{ '<image>' }}}}{{% endfor %}}"
        + "{% if message['role'] == 'user' %}{{ '\\n' }}{% endif %}"
        + _WORDS
        + "{{ '<|im_end|>\\n' }}{% endfor %}"
        + CHATML_OPEN
    ),
    "smolvlm": Kind(
        "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
        "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
        "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
        "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
        "<end_of_utterance>\n{% endfor %}" + _OPEN + "{{ 'Assistant:' }}{% endif %}",
        ("<|endoftext|>", "<|im_start|>", "<end_of_utterance>"),
        "<|im_start|>",
        "<end_of_utterance>",
        adds_bos=False,
    ),
    "granite-vision": Kind(
        "{%- if messages[0]['role'] == 'system' %}"
        "{%- set system = messages[0]['content'][0]['text'] %}{%- set turns = messages[1:] %}"
        "{%- else %}{%- set system = 'A chat.' %}{%- set turns = messages %}{%- endif %}"
        "{{- '<|system|>\\n' + system + '\\n' }}{%- for message in turns %}"
        "{{- '<|' + message['role'] + '|>\\n' }}"
        + _PICTURES
        + "{%- for part in "
        + _TEXTS
        + " %}{{- part['text'] }}{%- endfor %}"
        "{%- if message['role'] == 'assistant' %}{{- '<|end_of_text|>' }}{%- endif %}{{- '\\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}",
        ("<|end_of_text|>", "<fim>"),
        None,
        "<|end_of_text|>",
        adds_bos=False,
    ),
    "in place, between tokens": Kind(
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "{{ '<img><image></img>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
        "{{ '<|end|>' }}{% endfor %}" + _OPEN + "{{ '<|assistant|>' }}{% endif %}",
        (*_PHI, "<img>", "</img>"),
        None,
        "<|end|>",
        adds_bos=False,
    ),
}

# What no fixed form can express: the template, and what a note says of it.
ODD = {
    "fastvlm, whose earlier answers begin with a line's end": (
        _qwen(
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
            + f"{{% for part in {_IMAGES} %}}{{{{ '<image>' }}}}{{% endfor %}}"
            + f"{{% for part in {_TEXTS} %}}{{{{ '\\n' + part['text'] }}}}{{% endfor %}}"
            + "{{ '<|im_end|>\\n' }}{% endfor %}"
            + CHATML_OPEN,
            level="words",
        ),
        "some ids are others",
    ),
    "pictures that are counted": (
        _qwen(
            "{% set count = namespace(value=0) %}{% for message in messages %}"
            "{{ '<|im_start|>' + message['role'] + '\\n' }}{% for part in message['content'] %}"
            "{% if part['type'] == 'image' %}{% set count.value = count.value + 1 %}"
            "{{ 'Picture ' ~ count.value ~ ': <image>' }}{% else %}{{ part['text'] }}{% endif %}"
            "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}" + CHATML_OPEN
        ),
        "with several pictures it writes",
    ),
    "the date of the day": (
        _qwen(
            "{{ '<|im_start|>system\\nToday is ' + strftime_now('%d %B %Y') + '.<|im_end|>\\n' }}"
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
            + _PICTURES
            + _WORDS
            + "{{ '<|im_end|>\\n' }}{% endfor %}"
            + CHATML_OPEN
        ),
        "writes the date of the day",
    ),
    "no system words": (
        _qwen(
            "{% for message in messages %}{% if message['role'] == 'system' %}"
            "{{ raise_exception('no system words') }}{% endif %}"
            "{{ '<|im_start|>' + message['role'] + '\\n' }}"
            + _PICTURES
            + _WORDS
            + "{{ '<|im_end|>\\n' }}{% endfor %}"
            + CHATML_OPEN
        ),
        "there is no place for system words",
    ),
    "a stop that is words": (
        Kind(
            "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
            + _PICTURES
            + _WORDS
            + "{{ '###' }}{% endfor %}"
            + _OPEN
            + "{{ 'ASSISTANT:' }}{% endif %}",
            level="prepend",
        ),
        "64 conversations are the same",
    ),
}

# For tokenizers, which give messages as strings.
TOKENIZERS = {
    "vicuna": Kind(
        "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
        "{% set system = messages[0]['content'] %}{% else %}{% set turns = messages %}"
        "{% set system = 'A chat.' %}{% endif %}{{ bos_token + system }}"
        "{% for message in turns %}{% if message['role'] == 'user' %}"
        "{{ ' USER: ' + message['content'] }}{% else %}"
        "{{ ' ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
        + _OPEN
        + "{{ ' ASSISTANT:' }}{% endif %}",
        level="prepend",
    ),
    "chatml": _qwen("{% for message in messages %}" + CHATML_TURN + "{% endfor %}" + CHATML_OPEN),
    "chatml with a system sentence": _qwen(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
        + CHATML_TURN
        + "{% endfor %}"
        + CHATML_OPEN
    ),
    "llama-2": Kind(
        "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
        "{% set system = messages[0]['content'] %}{% else %}{% set turns = messages %}"
        "{% set system = false %}{% endif %}{% for message in turns %}"
        + _ALTERNATE
        + "{% if loop.index0 == 0 and system != false %}"
        "{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
        "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        level="prepend",
    ),
    "llama-3": _llama_3(
        "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
        "{{ content }}{% endfor %}" + LLAMA_3_OPEN
    ),
    "phi-3": Kind(
        "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
        + _OPEN
        + "{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
        _PHI,
        "<s>",
        "<|endoftext|>",
        level="prepend",
    ),
    "gemma": Kind(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}"
        + _ALTERNATE
        + "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
        "{% endfor %}" + _OPEN + "{{ '<start_of_turn>model\\n' }}{% endif %}",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos>",
        "<eos>",
    ),
    "zephyr": Kind(
        "{% for message in messages %}\n"
        "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token }}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
        "{% endfor %}",
        level="prepend",
        adds_bos=False,
    ),
    "mistral": Kind(
        "{{ bos_token }}{% for message in messages %}"
        + _ALTERNATE
        + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
        "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}",
        level="prepend",
    ),
    "mistral, system in the first turn": Kind(
        "{% if messages[0]['role'] == 'system' %}"
        "{% set system = messages[0]['content'] + '\\n\\n' %}"
        "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}"
        "{% endif %}{{ bos_token }}{% for message in turns %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + (system if loop.first else '') + message['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}",
        level="first",
    ),
    "mistral, system in the last turn": Kind(
        "{% if messages[0]['role'] == 'system' %}"
        "{% set system = messages[0]['content'] + '\\n\\n' %}"
        "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}"
        "{% endif %}{{ bos_token }}{% for message in turns %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + (system if loop.last else '') + message['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}",
        level="prepend",
        traits=("system words", "several questions"),
    ),
    "qwen3": _qwen(
        "{%- if messages[0].role == 'system' %}"
        "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}"
        "{%- for message in messages %}{%- if message.role == 'user' %}"
        "{{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}"
        "{%- elif message.role == 'assistant' %}"
        "{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}"
        "{{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
        traits=("several questions", "reasoning in an answer"),
    ),
}
