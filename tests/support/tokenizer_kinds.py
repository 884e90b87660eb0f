"""Tokenizers of the kinds that language models have, trained on a few sentences."""

import json
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# How GPT-4's and Llama 3's tokenizers cut a text into words.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(special: Sequence[str], corpus: Iterable[str], *, words: bool = False) -> Tokenizer:
    """SmolLM's kind, or Llama 3's with `words`."""
    plain = Tokenizer(models.BPE())
    cut = [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(False, False)]
    digits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    plain.pre_tokenizer = pre_tokenizers.Sequence(cut if words else digits)
    plain.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    plain.train_from_iterator(corpus, trainer)
    return plain


def llama(style: str, special: Sequence[str], corpus: Iterable[str]) -> Tokenizer:
    """Both spellings of Llama's tokenizer: a normalizer that prepends, or Metaspace."""
    plain = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if style == "prepend":
        plain.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=style, split=False)
    plain.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>", *special, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
        max_token_length=6,
    )
    in_the_end = plain.normalizer, plain.pre_tokenizer
    plain.normalizer = None
    plain.pre_tokenizer = pre_tokenizers.Metaspace()  # no piece of sentencepiece's spans two words
    plain.train_from_iterator(corpus, trainer)
    plain.normalizer, plain.pre_tokenizer = in_the_end
    added = plain.get_added_tokens_decoder()
    bytes_are_plain = {f"<0x{byte:02X}>" for byte in range(256)}
    assert bytes_are_plain <= {token.content for token in added.values()}
    return _without_added(plain, bytes_are_plain)


def _without_added(plain: Tokenizer, names: set[str]) -> Tokenizer:
    """The trainer adds byte tokens as special ones; in a real file they are vocabulary only."""
    data = json.loads(plain.to_str())
    data["added_tokens"] = [
        token for token in data["added_tokens"] if token["content"] not in names
    ]
    return Tokenizer.from_str(json.dumps(data))
