"""The checkpoint in transformers as its guides load it: float16, or bitsandbytes' NF4."""

from pathlib import Path
from typing import Any

from llava_edge.bench.peers.candidate import Peer, PeerSettings
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.core.bundle import read_bundle
from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.errors import UsageError


def open_candidate(settings: PeerSettings) -> "TransformersOnGpu":
    """Load the checkpoint's folder, onto a GPU where `settings.gpu` says so."""
    import torch
    from transformers import BitsAndBytesConfig, LlavaForConditionalGeneration

    if settings.checkpoint is None:
        raise UsageError("transformers needs the bundle's checkpoint; give it with --checkpoint.")
    device = "cuda:0" if settings.gpu else "cpu"
    options: dict[str, Any] = {}
    if settings.nf4:
        options["device_map"] = {"": device}  # which needs accelerate, and so does bitsandbytes
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float16
        )
    model = LlavaForConditionalGeneration.from_pretrained(
        settings.checkpoint, dtype=torch.float16, **options
    )
    placed = model if settings.nf4 else model.to(device)
    return TransformersOnGpu(placed.eval(), read_bundle(settings.bundle).vision.image)


class TransformersOnGpu(Peer):
    """LlavaForConditionalGeneration with a KV cache of transformers' usual kind."""

    def __init__(self, model: Any, image: ImageConfig) -> None:
        self._model = model
        self._image = image
        self._cache: Any = None

    def forget(self) -> None:
        """Empty the KV cache."""
        self._cache = None

    def read(self, ids: list[int]) -> int:
        """Append ids -> the likeliest id after them."""
        return self._append(self._embed(ids))

    def first_turn(self, question: PeerQuestion) -> int:
        """Read the first turn, from the picture's file on -> the likeliest id after it."""
        import torch

        self.forget()
        pixels = preprocess(load_picture(Path(question.picture)), self._image)[None]
        with torch.inference_mode():
            features = self._model.get_image_features(
                torch.from_numpy(pixels).to(self._model.device, torch.float16),
                vision_feature_layer=self._model.config.vision_feature_layer,
                vision_feature_select_strategy=self._model.config.vision_feature_select_strategy,
            )
            rows = features.pooler_output[0][None]
            before, after = (self._embed(list(ids)) for ids in (question.before, question.after))
            return self._append(torch.cat([before, rows, after], dim=1))

    def _embed(self, ids: list[int]) -> Any:
        import torch

        with torch.inference_mode():
            return self._model.get_input_embeddings()(
                torch.tensor([ids], device=self._model.device)
            )

    def _append(self, rows: Any) -> int:
        import torch

        with torch.inference_mode():
            output = self._model.model.language_model(
                inputs_embeds=rows, past_key_values=self._cache, use_cache=True
            )
            self._cache = output.past_key_values
            return int(self._model.lm_head(output.last_hidden_state[0, -1]).argmax())
