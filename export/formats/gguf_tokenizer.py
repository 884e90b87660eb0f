"""The tokenizer inside a GGUF file."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.hub.sentencepiece_bpe import BpePiece, PieceKind, build_tokenizer

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How byte-level tokenizers cut text into words; the names are llama.cpp's.
_WORDS = {
    "llama-bpe": _CONTRACTIONS + r"\p{N}{1,3}" + _REST,
    "qwen2": _CONTRACTIONS + r"\p{N}" + _REST,
}
_SPECIAL = {PieceKind.CONTROL: True, PieceKind.USER_DEFINED: False}


def read_tokenizer(metadata: Section) -> Tokenizer:
    """Rebuild a byte-level BPE or a sentencepiece BPE tokenizer.

    Raises CheckpointError for tokenizers of another kind and for broken ones.
    """
    kind = metadata.choice("tokenizer.ggml.model", ("gpt2", "llama"))
    tokens = metadata.strings("tokenizer.ggml.tokens")
    kinds = metadata.integers("tokenizer.ggml.token_type", len(tokens))
    try:
        if kind == "gpt2":
            return _byte_level(metadata, tokens, kinds)
        scores = metadata.numbers("tokenizer.ggml.scores", len(tokens))
        pieces = [BpePiece(*piece) for piece in zip(tokens, scores, kinds, strict=True)]
        prefix = metadata.flag("tokenizer.ggml.add_space_prefix", True)
        return build_tokenizer(pieces, add_prefix_space=prefix)
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            f"{metadata.where} holds a broken tokenizer ({error}); fetch the file again."
        ) from None


def _byte_level(metadata: Section, tokens: list[str], kinds: tuple[int, ...]) -> Tokenizer:
    words = metadata.choice("tokenizer.ggml.pre", ("smollm", *_WORDS))
    vocabulary = {token: id for id, token in enumerate(tokens)}
    pairs = (merge.partition(" ") for merge in metadata.strings("tokenizer.ggml.merges"))
    tokenizer = Tokenizer(models.BPE(vocabulary, [(left, right) for left, _, right in pairs]))
    cut: pre_tokenizers.PreTokenizer = (
        pre_tokenizers.Digits(individual_digits=True)
        if words == "smollm"
        else pre_tokenizers.Split(Regex(_WORDS[words]), "isolated")
    )
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words == "smollm")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, level])
    if words == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=_SPECIAL[PieceKind(kind)], normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in _SPECIAL
        ]
    )
    return tokenizer
