"""llama.cpp, through llama-cpp-python: it reads ids and image embeddings."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from llava_edge.core.array_types import Floats
from llava_edge.errors import LlavaEdgeError

FILE_TYPES = {"Q4_0": 2, "Q4_K_M": 15, "Q8_0": 7}  # llama.cpp's numbers for them


def library() -> Any:
    """Import llama_cpp and silence it; raises LlavaEdgeError where it is not installed."""
    try:
        import llama_cpp as cpp
    except ModuleNotFoundError as error:
        raise LlavaEdgeError(
            "llama.cpp is not installed; run `pip install llama-cpp-python`, which builds it."
        ) from error
    cpp.llama_log_set(_SILENT, None)
    return cpp


def quantize(gguf: Path, kind: str, folder: Path) -> Path:
    """Let llama.cpp quantize a float32 file to this kind; raises LlavaEdgeError."""
    cpp = library()
    path = folder / f"{kind}.gguf"
    parameters = cpp.llama_model_quantize_default_params()
    parameters.ftype = FILE_TYPES[kind]
    if cpp.llama_model_quantize(str(gguf).encode(), str(path).encode(), parameters):
        raise LlavaEdgeError(f"llama.cpp could not quantize {gguf}; give a float32 GGUF file.")
    return path


class LlamaCpp:
    """A language model in llama.cpp, with one KV cache; all of it on a GPU if `gpu`."""

    def __init__(
        self,
        path: Path,
        *,
        context: int,
        batch: int,
        threads: int | None = None,
        gpu: bool = False,
    ) -> None:
        self._cpp = library()
        if gpu and not self._cpp.llama_supports_gpu_offload():
            raise LlavaEdgeError(
                "The llama.cpp installed here was built without a GPU; install llama-cpp-python "
                "with CMAKE_ARGS=-DGGML_CUDA=on."
            )
        self._model = self._cpp.Llama(
            str(path),
            n_ctx=context,
            n_batch=batch,
            n_ubatch=batch,
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=-1 if gpu else 0,
            flash_attn=gpu,
            verbose=False,
        )
        self._position = 0

    def forget(self) -> None:
        """Empty the KV cache."""
        self._cpp.llama_memory_clear(self._cpp.llama_get_memory(self._model.ctx), True)
        self._position = 0

    def read(self, given: list[int] | Floats, *, every: bool = False) -> Floats:
        """Append ids or rows [S, D] -> logits [P, V] after the last, or after every one.

        The next call overwrites them.
        """
        cpp, count = self._cpp, len(given)
        batch = cpp.llama_batch_init(count, 0 if isinstance(given, list) else given.shape[1], 1)
        batch.n_tokens = count
        if isinstance(given, list):
            values = np.array(given, np.int32)
            ctypes.memmove(batch.token, values.ctypes.data, values.nbytes)
        else:
            rows = np.ascontiguousarray(given, np.float32)
            ctypes.memmove(batch.embd, rows.ctypes.data, rows.nbytes)
        for index in range(count):
            batch.pos[index] = self._position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = every or index == count - 1
        code = cpp.llama_decode(self._model.ctx, batch)
        cpp.llama_batch_free(batch)
        if code:
            raise LlavaEdgeError(
                f"llama.cpp did not read {count} tokens (code {code}); give it a larger context."
            )
        self._position += count
        pointer = cpp.llama_get_logits(self._model.ctx)
        shape = (count if every else 1, self._model.n_vocab())
        logits: Floats = np.ctypeslib.as_array(pointer, shape)
        return logits

    def close(self) -> None:
        """Free its memory."""
        self._model.close()


# Receives llama.cpp's log, and drops it.
_SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
