"""Trains the two-stage LLaVA checkpoint."""

import logging

from llava_edge.train.train import train as train

# On processors with bf16 instructions it warns, while it is imported, that a faster kernel for
# 4-bit products is not installed; nothing here needs that.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
