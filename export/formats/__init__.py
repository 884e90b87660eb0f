"""The files that hold weights and tokenizers: safetensors, pickles, GGUF, packed integers."""
