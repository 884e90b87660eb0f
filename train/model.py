"""The LLaVA model under training: a tower and a language model joined by a new projector."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken
from tokenizers import Tokenizer as HfTokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from llava_edge.config import ImageConfig
from llava_edge.errors import TrainingError
from llava_edge.prompt import PROMPTS
from llava_edge.tokenizer import Tokenizer
from llava_edge.train import efficientnet_lite  # noqa: F401  (registers the tower)
from llava_edge.train.dataset import Encoding
from llava_edge.train.labels import IGNORE_INDEX
from llava_edge.train.recipe import Recipe

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Learner:
    """The model, the tokenizer it is saved with, and how records are encoded for it."""

    model: LlavaForConditionalGeneration
    tokenizer: HfTokenizer
    encoding: Encoding


class LinearProjector(nn.Module):
    """LLaVA v1's projector, one linear layer; it stands where transformers builds two."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        inputs, outputs = config.vision_config.hidden_size, config.text_config.hidden_size
        self.linear_1 = nn.Linear(inputs, outputs)

    def forward(self, image_features: Tensor) -> Tensor:
        rows: Tensor = self.linear_1(image_features)
        return rows


class AnswerLoss(nn.Module):
    """The mean cross-entropy of the labelled tokens; the head is computed for these alone."""

    def __init__(self, llava: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.llava = llava

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: object,
    ) -> dict[str, Tensor]:
        if pixel_values is not None:
            tower = self.llava.model.vision_tower
            pixel_values = pixel_values.to(tower.dtype, memory_format=torch.channels_last)
        hidden = self.llava.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            use_cache=False,
        ).last_hidden_state  # [B, S, D]
        targets = labels[:, 1:]
        learned = targets != IGNORE_INDEX
        logits = self.llava.lm_head(hidden[:, :-1][learned]).float()  # [labels, V]
        total = F.cross_entropy(logits, targets[learned], reduction="sum")
        return {
            "loss": total / (learned.sum() if num_items_in_batch is None else num_items_in_batch)
        }


def build(recipe: Recipe) -> Learner:
    """Join the recipe's tower and language model by a fresh projector, drawn from its seed."""
    torch.manual_seed(recipe.seed)
    dtype = compute_dtype(recipe)
    vision_tower, base = Path(recipe.vision_tower), Path(recipe.language_model)
    try:
        tower = _load_tower(vision_tower, dtype)
        language_model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(
            f"{recipe.vision_tower} or {recipe.language_model} cannot be loaded ({reason}); "
            "give folders that transformers' save_pretrained has written."
        ) from error
    tokenizer = HfTokenizer.from_file(str(base / "tokenizer.json"))
    if tokenizer.token_to_id(recipe.image_token) is None:
        tokenizer.add_special_tokens([AddedToken(recipe.image_token, special=True)])
        language_model.resize_token_embeddings(tokenizer.get_vocab_size(), pad_to_multiple_of=64)
    image_token_id: int = tokenizer.token_to_id(recipe.image_token)  # type: ignore[assignment]
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=language_model.config,
        image_token_index=image_token_id,
        vision_feature_layer=recipe.vision_feature_layer,
        vision_feature_select_strategy=recipe.vision_feature_select_strategy,
        tie_word_embeddings=language_model.config.tie_word_embeddings,
    )
    config.llava_edge = {"name": recipe.name, "prompt": recipe.prompt}
    config.mm_projector_type = recipe.projector
    model = _join(config, tower, language_model)
    image = read_image_config(vision_tower, tower.config.image_size)
    image_tokens = tower_rows(model, torch.zeros(1, 3, image.size, image.size)).shape[1]
    config.image_seq_length = image_tokens
    prompt = PROMPTS[recipe.prompt]
    encoding = Encoding(Tokenizer(tokenizer), prompt, image, image_tokens, image_token_id)
    return Learner(model, tokenizer, encoding)


def compute_dtype(recipe: Recipe) -> torch.dtype:
    """What products are computed in; on a CPU without bf16 instructions fp32 is 4 times faster."""
    if recipe.precision != "auto":
        return torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    cuda = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if cuda or torch.cpu._is_avx512_bf16_supported() else torch.float32


@torch.no_grad()
def tower_rows(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """The frozen tower's rows [n, T, C] for pixels [n, 3, H, W], as the projector receives them."""
    tower, config = model.model.vision_tower, model.config
    pixels = pixels.to(tower.dtype, memory_format=torch.channels_last)
    states: Tensor = tower(pixels, output_hidden_states=True).hidden_states[
        config.vision_feature_layer
    ]
    return states[:, 1:] if config.vision_feature_select_strategy == "default" else states


def read_image_config(tower: Path, image_size: int) -> ImageConfig:
    """What the tower's `preprocessor_config.json` says; without one, CLIP's own preprocessing."""
    path = tower / "preprocessor_config.json"
    values = json.loads(path.read_text()) if path.exists() else {}
    return ImageConfig(
        size=image_size,
        mean=tuple(values.get("image_mean", CLIP_MEAN)),
        std=tuple(values.get("image_std", CLIP_STD)),
        mode="pad" if values.get("do_pad") else "square",
    )


def _load_tower(folder: Path, dtype: torch.dtype) -> nn.Module:
    kind = AutoConfig.from_pretrained(folder).model_type
    if kind in ("clip", "clip_vision_model"):
        return CLIPVisionModel.from_pretrained(folder, dtype=dtype)
    if kind == "efficientnet_lite":
        tower: nn.Module = AutoModel.from_pretrained(folder, dtype=dtype)
        return tower.to(memory_format=torch.channels_last)
    raise TrainingError(
        f"The vision tower {folder} is a {kind}; give a clip_vision_model or an efficientnet_lite."
    )


def _join(
    config: LlavaConfig, tower: nn.Module, language_model: nn.Module
) -> LlavaForConditionalGeneration:
    with torch.device("meta"):  # nothing is allocated twice
        model = LlavaForConditionalGeneration(config)
    linear = config.mm_projector_type == "linear"
    model.model.vision_tower = tower
    model.model.multi_modal_projector = (
        LinearProjector(config) if linear else LlavaMultiModalProjector(config)
    ).to(torch.float32)
    model.model.language_model = language_model.model
    model.lm_head = language_model.lm_head
    if not torch.cuda.is_available():
        # On a CPU torch's fused attention made a training step a fifth slower than plain products.
        model.model.language_model.set_attn_implementation("eager")
    return model
