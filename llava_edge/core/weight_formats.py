"""How the weights of a bundle may be stored: the choices of an export, and which is the default."""

from typing import Literal

Method = Literal["kquant", "rtn", "nf4", "calibrated", "none"]  # of the language model's layers
TowerFormat = Literal["fp16", "fp32", "int8"]
TableBits = Literal[4, 8, 16]  # of the head and of the embedding table
CacheBits = Literal[8, 16]  # of the KV cache of a GPU's graph

METHOD: Method = "kquant"
TOWER: TowerFormat = "fp16"
CACHE_BITS: CacheBits = 16
BLOCK_SIZE = 32  # weights that share a scale
NF4_BLOCK_SIZE = 64  # as bitsandbytes has it
BLOCK_SIZES = (16, 32, 64, 128, 256)
