"""The original that a bundle is judged by: transformers' own model, with a checkpoint's weights."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from llava_edge.core.array_types import Floats
from llava_edge.core.bundle_config import TensorRef, TilesConfig
from llava_edge.core.machine import available_memory
from llava_edge.core.picture import PictureSource, load_picture, preprocess
from llava_edge.core.tiles import cut
from llava_edge.errors import OriginalError
from llava_edge.export.formats.lazy_tensor import LazyTensor
from llava_edge.export.layouts.checkpoint import Checkpoint
from llava_edge.export.peft_judge import add_adapter, peft_is_here
from llava_edge.export.progress_bars import bars_are_drawn, step_bar
from llava_edge.export.quantized_original import quantized_original
from llava_edge.export.reference_config import transformers_config


class Reference:
    """A LLaVA in torch, on a GPU where there is one.

    With `judging`, the libraries that own its formats read its files, so that our own reading is
    judged as well; their layers may then stand in the place of plain ones.
    """

    def __init__(self, checkpoint: Checkpoint, *, judging: bool = False) -> None:
        self._checkpoint = checkpoint
        self._device, dtype = _placed(checkpoint)
        model = (_judge if judging else _load)(checkpoint, dtype)
        self.model = model.eval().to(self._device)

    @torch.no_grad()
    def encode(self, source: PictureSource) -> Floats:
        """Image embeddings [T, D] of a picture."""
        picture = load_picture(source)
        config = self._checkpoint.config
        options: dict[str, Any] = {}
        if config.grid_pinpoints:
            tiles = TilesConfig(config.grid_pinpoints, TensorRef(0, (), ""))
            pixels = cut(picture, self._checkpoint.image, tiles)[None]
            options["image_sizes"] = torch.tensor([[picture.height, picture.width]])
        else:
            pixels = preprocess(picture, self._checkpoint.image)[None]
        features = self.model.get_image_features(
            self._tensor(pixels),
            vision_feature_layer=self.model.config.vision_feature_layer,
            vision_feature_select_strategy=self.model.config.vision_feature_select_strategy,
            **options,
        )
        rows: Floats = features.pooler_output[0].float().cpu().numpy()
        return rows

    @torch.no_grad()
    def embed(self, ids: list[int]) -> Floats:
        """The language model's own rows [S, D] for ids."""
        table = self.model.get_input_embeddings()
        rows: Floats = table(torch.tensor(ids, device=self._device)).float().cpu().numpy()
        return rows

    @torch.no_grad()
    def score(self, rows: Floats, positions: Sequence[int]) -> Floats:
        """The logits [P, V] after the rows [S, D] at `positions`."""
        hidden = self.model.model.language_model(inputs_embeds=self._tensor(rows)[None])
        picked = hidden.last_hidden_state[0, torch.as_tensor(positions, device=self._device)]
        logits: Floats = self.model.lm_head(picked).float().cpu().numpy()
        return logits

    @torch.no_grad()
    def answer(self, rows: Floats, stop: Collection[int], tokens: int) -> list[int]:
        """The likeliest ids after the rows [S, D], up to a stop token, which is kept."""
        language = self.model.model.language_model
        embeds, cache, ids = self._tensor(rows)[None], None, list[int]()
        while len(ids) < tokens and not (ids and ids[-1] in stop):
            output = language(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            ids.append(int(self.model.lm_head(output.last_hidden_state[0, -1]).argmax()))
            embeds = self.model.get_input_embeddings()(
                torch.tensor([ids[-1:]], device=self._device)
            )
        return ids

    def _tensor(self, array: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, self.model.dtype)


def _placed(checkpoint: Checkpoint) -> tuple[str, torch.dtype]:
    """A GPU that holds it in 16 bits, else the CPU; float32 where that fits with some room."""
    weights = sum(prod(tensor.shape) for tensor in checkpoint.tensors.values())
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    device = "cuda" if 2.5 * weights < free else "cpu"
    if device == "cpu":
        free = available_memory()
    return device, torch.float32 if 5 * weights < free else torch.bfloat16


@contextmanager
def _bars_as_ours() -> Iterator[None]:
    """transformers draws its own bars only where ours are drawn."""
    logging = transformers.utils.logging
    if bars_are_drawn() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@_bars_as_ours()
def _judge(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """The original, each part opened by the library that owns its format."""
    if checkpoint.unadapted is not None and peft_is_here():
        model = _judge(checkpoint.unadapted, dtype)
        add_adapter(model, checkpoint)
        return model
    owned = None
    if checkpoint.method is not None:
        owned = quantized_original(_kind(checkpoint), checkpoint, dtype)
    return _load(checkpoint, dtype) if owned is None else owned


@_bars_as_ours()
def _load(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    transformers.utils.logging.set_verbosity_error()
    kind = _kind(checkpoint)
    if checkpoint.loads_in_transformers and checkpoint.method is None:
        try:
            return kind.from_pretrained(checkpoint.folder, dtype=dtype)
        except Exception as error:  # many kinds, for a file or a setting that it refuses
            raise OriginalError(
                f"transformers cannot open {checkpoint.folder} ({' '.join(str(error).split())}); "
                "fetch the checkpoint again, or leave it unverified."
            ) from error
    tensors = step_bar("Reading the original", checkpoint.tensors.items())
    state = {_on_disk(name): _read(tensor, dtype) for name, tensor in tensors}
    config = transformers_config(checkpoint)
    model = kind.from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    if checkpoint.config.projector_layers != 2:
        model.model.multi_modal_projector = _projector(state, checkpoint.config.projector_layers)
    return model


def _kind(checkpoint: Checkpoint) -> Any:
    """transformers' class for it."""
    if checkpoint.config.grid_pinpoints:
        return transformers.LlavaNextForConditionalGeneration
    return transformers.LlavaForConditionalGeneration


def _projector(state: dict[str, Tensor], layers: int) -> nn.Sequential:
    """Linear layers with GELU between them, where transformers always has two."""
    modules: list[nn.Module] = []
    for number in range(1, layers + 1):
        name = f"multi_modal_projector.linear_{number}"
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        linear.weight.data = weight
        if bias is not None:
            linear.bias.data = bias
        modules += [linear, nn.GELU()]
    return nn.Sequential(*modules[:-1])


def _on_disk(name: str) -> str:
    """transformers' own spelling of a canonical name."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    return name.replace("language_model.", "language_model.model.", 1)


def _read(tensor: LazyTensor, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(tensor.read().astype(np.float32)).to(dtype)
