"""Messages become segments: runs of token ids, counted in the loss or not, and pictures between.

Training, export and runtime all render prompts here, so the mask cannot drift from the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llava_edge.core.bundle_config import PromptConfig
from llava_edge.core.prompt_pieces import IMAGE as IMAGE
from llava_edge.core.prompt_pieces import AnyMessage, Words, pieces
from llava_edge.core.prompt_pieces import Message as Message
from llava_edge.core.prompt_pieces import Part as Part
from llava_edge.core.prompt_pieces import Picture as Picture
from llava_edge.core.prompt_pieces import WrittenMessage as WrittenMessage
from llava_edge.core.tokenizer import Tokenizer


@dataclass(frozen=True)
class Text:
    """A run of token ids; `learned` says whether the training loss counts them."""

    ids: tuple[int, ...]
    learned: bool = False


Segment = Text | Picture
_WORD = -1  # stands for the id of any word

V0 = PromptConfig(
    name="v0",
    bos="<s>",
    opening="A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.###",
    system_prefix="",
    system_suffix="###",
    user_prefix="Human: ",
    user_suffix="###",
    assistant_prefix="Assistant:",
    answer_prefix=" ",
    assistant_suffix="###",
    turn_separator="",
    image_suffix="\n",
    stop=("</s>",),
    stop_strings=("###",),
)
VICUNA_V1 = PromptConfig(
    name="vicuna_v1",
    bos="<s>",
    opening="A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. ",
    system_prefix="",
    system_suffix=" ",
    user_prefix="USER: ",
    user_suffix=" ",
    assistant_prefix="ASSISTANT:",
    answer_prefix=" ",
    assistant_suffix="</s>",
    turn_separator="",
    image_suffix="\n",
    stop=("</s>",),
)
CHATML = PromptConfig(
    name="chatml",
    bos="",
    opening="",
    system_prefix="<|im_start|>system\n",
    system_suffix="<|im_end|>\n",
    user_prefix="<|im_start|>user\n",
    user_suffix="<|im_end|>\n",
    assistant_prefix="<|im_start|>assistant\n",
    answer_prefix="",
    assistant_suffix="<|im_end|>",
    turn_separator="\n",
    image_suffix="\n",
    stop=("<|im_end|>",),
)
QWEN = replace(
    CHATML,
    name="qwen",
    opening="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
)
_HELPFUL = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)
LLAMA_2 = PromptConfig(
    name="llama_2",
    bos="<s>",
    opening=f"[INST] <<SYS>>\n{_HELPFUL}\n<</SYS>>\n\n",
    system_prefix="[INST] <<SYS>>\n",
    system_suffix="\n<</SYS>>\n\n",
    user_prefix="",
    user_suffix=" [/INST]",
    assistant_prefix="",
    answer_prefix=" ",
    assistant_suffix=" </s>",
    turn_separator="<s>[INST] ",
    image_suffix="\n",
    stop=("</s>",),
)
MISTRAL = PromptConfig(
    name="mistral",
    bos="<s>",
    opening="[INST] ",
    system_prefix="[INST] <<SYS>>\n",
    system_suffix="\n<</SYS>>\n\n",
    user_prefix="",
    user_suffix=" [/INST]",
    assistant_prefix="",
    answer_prefix=" ",
    assistant_suffix=" </s>",
    turn_separator="[INST] ",
    image_suffix="\n",
    stop=("</s>",),
)
LLAMA_3 = PromptConfig(
    name="llama_3",
    bos="<|begin_of_text|>",
    opening=f"<|start_header_id|>system<|end_header_id|>\n\n{_HELPFUL}<|eot_id|>",
    system_prefix="<|start_header_id|>system<|end_header_id|>\n\n",
    system_suffix="<|eot_id|>",
    user_prefix="<|start_header_id|>user<|end_header_id|>\n\n",
    user_suffix="<|eot_id|>",
    assistant_prefix="<|start_header_id|>assistant<|end_header_id|>\n\n",
    answer_prefix="",
    assistant_suffix="<|eot_id|>",
    turn_separator="",
    image_suffix="\n",
    stop=("<|eot_id|>",),
)
PHI = PromptConfig(
    name="phi",
    bos="",
    opening="",
    system_prefix="<|system|>\n",
    system_suffix="<|end|>\n",
    user_prefix="<|user|>\n",
    user_suffix="<|end|>\n",
    assistant_prefix="<|assistant|>\n",
    answer_prefix="",
    assistant_suffix="<|end|>",
    turn_separator="\n",
    image_suffix="\n",
    stop=("<|end|>",),
)
PROMPTS = {
    prompt.name: prompt for prompt in (CHATML, LLAMA_2, LLAMA_3, MISTRAL, PHI, QWEN, V0, VICUNA_V1)
} | {"v1": VICUNA_V1}


def plain(prompt: PromptConfig) -> PromptConfig:
    """LLaVA's stage 1 for a model of this format: a picture and its caption, which ends a line."""
    return PromptConfig(
        name="plain",
        bos=prompt.bos,
        opening="",
        system_prefix=None,
        system_suffix="",
        user_prefix="",
        user_suffix="",
        assistant_prefix="",
        answer_prefix="",
        assistant_suffix="\n",
        turn_separator="",
        image_suffix="",
        stop=prompt.stop,
        stop_strings=("\n",),
        user_words=False,
    )


def render(
    messages: Sequence[AnyMessage],
    prompt: PromptConfig,
    tokenizer: Tokenizer,
    *,
    first: bool = True,
) -> list[Segment]:
    """Render turns; a last user turn is left open for the assistant's answer.

    System words, if any, come first and take the place of the format's own. `first=False` begins
    with the turn separator instead: the turns continue a conversation after an answer.
    Special tokens count as such only where the prompt format writes them, never in a message.
    Raises PromptError where the roles do not alternate, beginning with the user, and for system
    words that come later or that the format has no place for.
    """
    builder = _Builder(tokenizer, prompt.image_token)
    if first:
        builder.add_token(prompt.bos)
    else:
        builder.add_end(prompt.assistant_suffix)
    for piece in pieces(messages, prompt, first=first):
        if isinstance(piece, Picture):
            builder.add_picture(piece)
        else:
            builder.add(piece)
    return builder.segments()


class _Builder:
    """Collects words until a picture or a change of the loss mask ends the run."""

    def __init__(self, tokenizer: Tokenizer, image_token: str) -> None:
        self._tokenizer = tokenizer
        self._image = tokenizer.token_id(image_token) if image_token else None
        self._segments: list[Segment] = []
        self._run: list[tuple[str, bool]] = []  # words, trusted
        self._learned = False
        self._after: int | None = None  # the id that the run continues; None: it begins a text

    def add(self, words: Words) -> None:
        if words.learned != self._learned:
            self._flush()
            self._learned = words.learned
        if words.text:
            self._run.append((words.text, words.trusted))

    def add_token(self, token: str) -> None:
        """A token by itself, so that what follows is encoded as the beginning of a text."""
        id = self._tokenizer.token_id(token) if token else None
        if id is not None:
            self._flush()
            self._segments.append(Text((id,)))

    def add_end(self, suffix: str) -> None:
        """The end of the answer before, which is continued but no part of the segments."""
        self._after = [_WORD, *self._tokenizer.encode([(suffix, True)])][-1]

    def add_picture(self, picture: Picture) -> None:
        self._flush()
        self._segments.append(picture)
        self._after = self._image  # None: as LLaVA encodes what stands around pictures

    def segments(self) -> list[Segment]:
        self._flush()
        return self._segments

    def _flush(self) -> None:
        if self._run:
            ids = self._tokenizer.encode(self._run, after=self._after)
            if ids:  # none where a special token before has taken the white space
                self._segments.append(Text(tuple(ids), self._learned))
                self._after = ids[-1]
            self._run = []
