"""The ids that end an answer."""

from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.tokenizer import Tokenizer
from llava_edge.errors import BundleError


def stop_ids(config: BundleConfig, tokenizer: Tokenizer) -> frozenset[int]:
    """Those of the prompt format's stop tokens, and the checkpoint's own.

    Raises BundleError where the tokenizer lacks a stop token.
    """
    ids = {token: tokenizer.token_id(token) for token in config.prompt.stop}
    if missing := [token for token, id in ids.items() if id is None]:
        raise BundleError(
            f"The bundle's tokenizer lacks the stop token {missing[0]!r} of its prompt format "
            f"{config.prompt.name}; export it again with another --prompt."
        )
    return frozenset(config.decoder.stop_ids).union(id for id in ids.values() if id is not None)
