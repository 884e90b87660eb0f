"""The tokenizer inside a GGUF file."""

from gguf import TokenType
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from llava_edge.errors import CheckpointError
from llava_edge.export.checkpoint_section import Section

_SPECIAL = {int(TokenType.CONTROL): True, int(TokenType.USER_DEFINED): False}


def read_tokenizer(metadata: Section) -> Tokenizer:
    """Rebuild SmolLM's byte-level BPE tokenizer, which takes digits one by one.

    Raises CheckpointError for tokenizers of another kind and for broken ones.
    """
    metadata.choice("tokenizer.ggml.model", ("gpt2",))
    metadata.choice("tokenizer.ggml.pre", ("smollm",))
    tokens = metadata.strings("tokenizer.ggml.tokens")
    kinds = metadata.integers("tokenizer.ggml.token_type", len(tokens))
    vocabulary = {token: id for id, token in enumerate(tokens)}
    pairs = (merge.partition(" ") for merge in metadata.strings("tokenizer.ggml.merges"))
    merges = [(first, second) for first, _, second in pairs]
    try:
        tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            f"{metadata.where} holds a broken tokenizer ({error}); fetch the file anew."
        ) from None
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=_SPECIAL[kind], normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in _SPECIAL
        ]
    )
    return tokenizer
