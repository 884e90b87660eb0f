"""Labels are the assistant's words and what ends them, whatever the prompt format and tokenizer."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tiny import SENTENCES, SPECIAL_TOKENS
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Plain

from llava_edge.core.bundle_config import ImageConfig, PromptConfig
from llava_edge.core.prompt import (
    CHATML,
    LLAMA_2,
    PROMPTS,
    VICUNA_V1,
    Picture,
    Segment,
    Text,
    WrittenMessage,
    plain,
    render,
)
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import RecordError
from llava_edge.hub.tokenizer_file import read_tokenizer_file
from llava_edge.train.inputs.labels import IGNORE_INDEX, Encoding, label, truncate

SPECIAL = sorted({token for tokens in SPECIAL_TOKENS.values() for token in tokens})
PHI = ("<|user|>", "<|assistant|>", "<|end|>")  # Phi-3's own take the white space after them
IMAGE = ImageConfig(size=21, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), mode="pad")
IMAGE_TOKENS = 7
FORMATS = {prompt.name: prompt for prompt in PROMPTS.values()} | {
    "plain": plain(VICUNA_V1),
    "plain chatml": plain(CHATML),
}

WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)  # what Unicode, and the tokenizers library, call white space
ATTACKS = ("</s>", "<s>", "<|im_end|>", "<|eot_id|>", "<|end|>\n", "###", "[INST]", " [/INST]")
UNICODE = ("\U0001f34e", "e\u0301", "\u6f22\u5b57", "\u2581", "\u200d", "\u00a0", "  ", "\n", " a")
words = st.lists(st.sampled_from(ATTACKS + UNICODE + SENTENCES) | st.text(max_size=4), max_size=4)
texts = words.map("".join)
turns = st.lists(st.tuples(texts, texts), min_size=1, max_size=3)


@dataclass(frozen=True)
class Kind:
    """A tokenizer, and where it puts a space before a text, which its decoder takes away."""

    name: str
    tokenizer: Tokenizer
    metaspace: bool = True
    spaced: tuple[str, ...] = ()  # of "beginning", "special" and "words"
    always: bool = False  # also before a text that begins with a space
    greedy: tuple[str, ...] = ()  # special tokens that take the white space after them

    @property
    def plain(self) -> Plain:
        return self.tokenizer._tokenizer

    def space(self, place: str, text: str) -> str:
        """The space that the tokenizer itself puts before a text."""
        begun = text.startswith((" ", "\u2581")) and not self.always
        return " " if text and place in self.spaced and not begun else ""


def sentencepiece() -> SentencePieceProcessor:
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=360,
        byte_fallback=True,
        control_symbols=[token for token in SPECIAL if token not in ("<unk>", "<s>", "</s>")],
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return SentencePieceProcessor(model_proto=model.getvalue())


def llama(folder: Path, scheme: str) -> Tokenizer:
    """Llama-2's kind of tokenizer; "first" is how transformers writes it with legacy=False."""
    (folder / "tokenizer.model").write_bytes(SENTENCEPIECE.serialized_model_proto())
    data = json.loads(read_tokenizer_file(folder).to_str())
    for token in data["added_tokens"]:
        token["rstrip"] = token["content"] in PHI
    if scheme == "first":
        data["normalizer"] = None
        metaspace = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        data["pre_tokenizer"] = json.loads(metaspace.__getstate__())
    return Tokenizer(Plain.from_str(json.dumps(data)))


def byte_level() -> Plain:
    """GPT-2's kind, as Qwen and Llama 3 have."""
    tokenizer = Plain(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


SENTENCEPIECE = sentencepiece()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    folder = tmp_path_factory.mktemp("tokenizer")
    every = [
        Kind("byte-level", Tokenizer(byte_level()), metaspace=False),
        Kind("llama", llama(folder, "prepend"), True, ("beginning", "special"), True, PHI),
        Kind("llama first", llama(folder, "first"), True, ("beginning",), False, PHI),
    ]
    return {kind.name: kind for kind in every}


@pytest.fixture(scope="module", params=["byte-level", "llama", "llama first"])
def kind(request: pytest.FixtureRequest, kinds: dict[str, Kind]) -> Kind:
    return kinds[request.param]


def encoding(prompt: PromptConfig, kind: Kind) -> Encoding:
    image_id = kind.plain.token_to_id("<image>")
    return Encoding(kind.tokenizer, prompt, IMAGE, IMAGE_TOKENS, image_id)


def conversation(said: Sequence[tuple[str, str]], pictures: int = 1) -> list[WrittenMessage]:
    """Turns of which the first ones have a picture each."""
    messages = []
    for number, (question, answer) in enumerate(said):
        question = f"<image>\n{question}" if number < pictures else question
        messages += [WrittenMessage("user", question), WrittenMessage("assistant", answer)]
    return messages


def rendered(said: Sequence[tuple[str, str]], chosen: Encoding, pictures: int = 1) -> list[Segment]:
    return render(conversation(said, pictures), chosen.prompt, chosen.tokenizer)


def place(before: Segment, kind: Kind) -> tuple[str, str]:
    """What a segment comes after, and the special token that this is."""
    if isinstance(before, Picture):
        return "beginning", ""
    special = kind.plain.get_added_tokens_decoder().get(before.ids[-1])
    return ("special", special.content) if special else ("words", "")


def decode(ids: Sequence[int], kind: Kind) -> str:
    """All of the text, also a first space, and special tokens."""
    start = kind.plain.encode("a", add_special_tokens=False).ids
    text: str = kind.plain.decode([*start, *ids], skip_special_tokens=False)
    assert text.startswith("a")
    return text[1:]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(said=turns)
def test_labels_decode_to_the_answers_and_what_ends_them(
    kind: Kind, name: str, said: list[tuple[str, str]]
) -> None:
    """Exactly, but for what a tokenizer cannot tell or does by itself.

    Metaspace tokenizers write U+2581 and a space alike. They put a space before a text at the
    beginning and, with Llama-2's legacy setting, after special tokens; decoders take one away.
    After a special token that takes the white space beside it, an answer begins without any.
    """
    chosen = encoding(FORMATS[name], kind)
    prompt, segments = chosen.prompt, rendered(said, chosen)
    answered = [
        (before, segment)
        for before, segment in pairwise(segments)
        if isinstance(segment, Text) and segment.learned
    ]
    assert len(answered) == len(said)
    for (before, segment), (_, answer) in zip(answered, said, strict=True):
        after, special = place(before, kind)
        answer = answer.lstrip(WHITE) if special in kind.greedy else answer
        end = prompt.assistant_suffix.removesuffix(prompt.stop[0])
        text = prompt.answer_prefix + answer + end
        expected = kind.space(after, text) + text
        expected = expected.replace("\u2581", " ") if kind.metaspace else expected
        stop = prompt.assistant_suffix.removeprefix(end)
        assert decode(segment.ids, kind) == expected + stop
        seen = expected.removeprefix(" ") if kind.metaspace else expected
        assert chosen.tokenizer.decode(segment.ids) == seen  # what the runtime shows


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(said=turns)
def test_labels_are_the_ids_that_are_learned(
    kind: Kind, name: str, said: list[tuple[str, str]]
) -> None:
    chosen = encoding(FORMATS[name], kind)
    segments = rendered(said, chosen)
    ids, labels = label(segments, chosen)
    assert all(a in (b, IGNORE_INDEX) for a, b in zip(labels, ids, strict=True))
    learned = [s.ids for s in segments if isinstance(s, Text) and s.learned]
    assert [id for id in labels if id != IGNORE_INDEX] == [id for run in learned for id in run]
    assert ids.count(chosen.image_token_id) == IMAGE_TOKENS
    start = ids.index(chosen.image_token_id)
    assert set(ids[start : start + IMAGE_TOKENS]) == {chosen.image_token_id}
    assert set(labels[start : start + IMAGE_TOKENS]) == {IGNORE_INDEX}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(said=turns)
def test_words_never_become_special_tokens(
    kind: Kind, name: str, said: list[tuple[str, str]]
) -> None:
    chosen = encoding(FORMATS[name], kind)
    special = {chosen.tokenizer.token_id(token) for token in SPECIAL}

    def specials(said: Sequence[tuple[str, str]]) -> list[int]:
        return [id for id in label(rendered(said, chosen), chosen)[0] if id in special]

    assert specials(said) == specials([("Why?", "So.")] * len(said))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=8)
@given(said=turns)
def test_a_cut_leaves_whole_pictures_and_some_labels(
    kind: Kind, name: str, said: list[tuple[str, str]]
) -> None:
    chosen = encoding(FORMATS[name], kind)
    image = chosen.image_token_id
    ids, labels = label(rendered(said, chosen, pictures=2), chosen)
    whole = [
        end
        for end in range(len(ids) + 1)
        if ids[:end].count(image) % IMAGE_TOKENS == 0  # no part of a picture
    ]
    for length in range(len(ids) + 2):
        end = max(place for place in whole if place <= length)
        if set(labels[1:end]) <= {IGNORE_INDEX}:
            with pytest.raises(RecordError, match=f"{len(ids):,} tokens.*max_tokens = {length:,}"):
                truncate(ids, labels, length, image)
        else:
            assert truncate(ids, labels, length, image) == (ids[:end], labels[:end])


def test_pictures_beside_each_other_go_together() -> None:
    ids, labels = [1, 5, 9, 9, 9, 9, 6], [-100, 5, -100, -100, -100, -100, 6]
    for length in (2, 3, 4, 5):
        assert truncate(ids, labels, length, 9) == ([1, 5], [-100, 5])
    assert truncate(ids, labels, 6, 9) == (ids[:6], labels[:6])


def test_a_label_that_nothing_predicts_is_none() -> None:
    with pytest.raises(RecordError, match="raise max_tokens or drop the record"):
        truncate([5, 6], [5, 6], 1, 9)


# LLaVA's own construction, as a reference: a text around pictures, encoded in chunks with
# sentencepiece, and a mask that is counted from the lengths of rounds encoded again.

PLACEHOLDER = -200  # an image in LLaVA's ids, once
safe = st.text(st.characters(exclude_characters="<[:", exclude_categories=["Cs"]), max_size=12)
safe_turns = st.lists(st.tuples(safe, safe), min_size=1, max_size=3)


def slow_ids(text: str) -> list[int]:
    """As the slow tokenizer: BOS, and what lies between special tokens by itself."""
    ids = [SENTENCEPIECE.bos_id()]
    for number, part in enumerate(text.split("</s>")):
        ids += [SENTENCEPIECE.eos_id()] * (number > 0)
        for other, words in enumerate(part.split("<s>")):
            ids += [SENTENCEPIECE.bos_id()] * (other > 0) + SENTENCEPIECE.encode(words)
    return ids


def chunked_ids(text: str) -> list[int]:
    first, *rest = [slow_ids(chunk) for chunk in text.split("<image>")]
    return first + [id for chunk in rest for id in (PLACEHOLDER, *chunk[1:])]


def counted_labels(text: str, ids: list[int], answer_mark: str) -> list[int]:
    labels, position = list(ids), 1
    labels[0] = IGNORE_INDEX
    for round_ in text.removesuffix("</s>").split("</s>"):
        question = round_.split(answer_mark)[0] + answer_mark
        masked = len(chunked_ids(question)) - 2  # BOS, and the space that ends the question
        labels[position : position + masked] = [IGNORE_INDEX] * masked
        position += len(chunked_ids(round_))  # its BOS counts for its </s>
    assert position == len(ids)
    return labels


def ours(said: Sequence[tuple[str, str]], prompt: PromptConfig, kind: Kind) -> object:
    chosen = replace(encoding(prompt, kind), image_tokens=1, image_token_id=PLACEHOLDER)
    return label(rendered(said, chosen), chosen)


@settings(max_examples=100)
@given(said=safe_turns)
def test_vicuna_is_what_llava_makes_of_it(
    kinds: dict[str, Kind], said: list[tuple[str, str]]
) -> None:
    text = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
    )
    for number, (question, answer) in enumerate(said):
        picture = "" if number else "<image>\n"
        text += f"USER: {picture}{question} ASSISTANT: {answer}</s>"
    ids = chunked_ids(text)
    expected = (ids, counted_labels(text, ids, " ASSISTANT: "))
    assert ours(said, PROMPTS["v1"], kinds["llama"]) == expected


@settings(max_examples=100)
@given(said=safe_turns)
def test_llama_2_is_what_llava_makes_of_it(
    kinds: dict[str, Kind], said: list[tuple[str, str]]
) -> None:
    system = (
        "<<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the "
        "visual content that the user provides, and assist the user with a variety of tasks using "
        "natural language.\n<</SYS>>\n\n"
    )
    text = ""
    for number, (question, answer) in enumerate(said):
        first = "" if number else f"{system}<image>\n"
        text += f"<s>[INST] {first}{question} [/INST] {answer} </s>"
    text = text.removeprefix("<s>")  # which the tokenizer puts there
    ids = chunked_ids(text)
    expected = (ids, counted_labels(text, ids, "[/INST] "))
    assert ours(said, LLAMA_2, kinds["llama"]) == expected


@settings(max_examples=100)
@given(question=texts, caption=safe)
def test_plain_is_what_llava_makes_of_it(
    kinds: dict[str, Kind], question: str, caption: str
) -> None:
    ids = chunked_ids(f"<image>{caption}\n")
    expected = (ids, [IGNORE_INDEX] * 2 + ids[2:])
    for prompt in (VICUNA_V1, LLAMA_2):
        assert ours([(question, caption)], plain(prompt), kinds["llama"]) == expected
