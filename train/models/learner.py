"""The LLaVA model under training: a tower and a language model joined by a new projector."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer as HfTokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel

from llava_edge.core.saved_prompt import saved_prompt
from llava_edge.errors import TrainingError
from llava_edge.hub.tokenizer_file import read_tokenizer_file
from llava_edge.train.inputs.labels import IGNORE_INDEX, Encoding
from llava_edge.train.models.init_checkpoint import init_tokenizer, open_init
from llava_edge.train.models.init_parts import load_init, load_init_newline, load_init_projector
from llava_edge.train.models.language_model import grow_vocabulary, load_language_model, untie
from llava_edge.train.models.language_weights import set_token_ids
from llava_edge.train.models.linear_cross_entropy import linear_cross_entropy
from llava_edge.train.models.llava_kind import (
    NEWLINE,
    AnyConfig,
    AnyLlava,
    join_views,
    model_class,
    new_config,
    new_newline,
)
from llava_edge.train.models.projector import new_projector
from llava_edge.train.models.text_encoding import init_encoding, make_encoding
from llava_edge.train.models.towers import load_tower
from llava_edge.train.recipe import Recipe


@dataclass(frozen=True)
class Learner:
    """The model, the tokenizer it is saved with, and how records are encoded for it."""

    model: AnyLlava
    tokenizer: HfTokenizer
    encoding: Encoding
    folders: tuple[Path, ...]  # with the settings beside the tokenizer, the first to be asked first

    @property
    def feature_shape(self) -> tuple[int, int]:
        """The shape of a view's rows as the tower computes them: image tokens, channels."""
        projector = self.model.model.multi_modal_projector
        return self.encoding.image_tokens, projector.linear_1.in_features


class AnswerLoss(nn.Module):
    """The mean cross-entropy of the labelled tokens; the head is computed for these alone."""

    def __init__(self, llava: AnyLlava) -> None:
        super().__init__()
        self.llava = llava

    def train(self, mode: bool = True) -> "AnswerLoss":
        """Put all parts but a frozen tower into training mode: nothing in that one drops out."""
        super().train(mode)
        tower = self.llava.model.vision_tower
        tower.train(mode and learns(tower))
        return self

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        segments: Sequence[int] | None = None,
        pixel_values: Tensor | None = None,
        features: Tensor | None = None,
        image_sizes: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: object,
    ) -> dict[str, Tensor]:
        """Batches of `train/inputs/dataset.py`, packed or padded -> {"loss"}.

        The rows of the n views of a batch's pictures are its `features` [n, T, C], if the tower
        computed them before, or else computed from `pixel_values` [n, 3, H, W]. With tiles, the
        pictures' heights and widths are `image_sizes` [pictures, 2].
        """
        if pixel_values is not None:
            features = tower_rows(self.llava, pixel_values)
        elif features is None and learns(self.llava.model.vision_tower):
            features = self._no_rows(input_ids.device)
        packed = {} if segments is None else {"segments": segments}
        hidden = self.llava.model.language_model(
            inputs_embeds=self._embed(input_ids, features, image_sizes),
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
            **packed,
        ).last_hidden_state  # [B, S, D]
        targets = labels[:, 1:]
        learned = targets != IGNORE_INDEX
        head = self.llava.lm_head.weight  # [V, D]; where it is sharded, whole during the forward
        total = linear_cross_entropy(hidden[:, :-1][learned], head, targets[learned])
        return {
            "loss": total / (learned.sum() if num_items_in_batch is None else num_items_in_batch)
        }

    def _no_rows(self, device: torch.device) -> Tensor:
        """No rows [0, T, C] of a blank picture: the tower must have a gradient on every device."""
        size = self.llava.config.vision_config.image_size
        return tower_rows(self.llava, torch.zeros(1, 3, size, size, device=device))[:0]

    def _embed(
        self, input_ids: Tensor, features: Tensor | None, image_sizes: Tensor | None
    ) -> Tensor:
        """The words' embeddings [B, S, D], with the pictures' projected rows in their places."""
        embeds: Tensor = self.llava.get_input_embeddings()(input_ids)
        projector = self.llava.model.multi_modal_projector
        if features is None:  # no rows: what learns must have a gradient on every device
            features = embeds.new_zeros(0, 1, projector.linear_1.in_features)
        rows = projector(features.to(projector.linear_1.weight.dtype))
        rows = join_views(self.llava, rows, image_sizes)
        places = (input_ids == self.llava.config.image_token_index)[..., None]
        return embeds.masked_scatter(places, rows.to(embeds.dtype))


def build(recipe: Recipe, quantize: Literal["nf4"] | None = None) -> Learner:
    """Join the recipe's tower and language model by a new projector, or by that of its `init`.

    `quantize` is how the language model is held. Raises TrainingError if a part cannot be
    loaded, or does not fit the recipe or LLaVA.
    """
    torch.manual_seed(recipe.seed)
    checkpoint = open_init(recipe.init, recipe.prompt) if recipe.init else None
    if checkpoint is not None:
        with _loading(checkpoint.name):
            tower, language_model = load_init(checkpoint, compute_dtype(recipe), quantize)
        tokenizer = init_tokenizer(checkpoint)
        encoding = init_encoding(recipe, checkpoint, tokenizer)
        folders = checkpoint.folders
    else:
        tower, language_model = _load(recipe, quantize)
        tokenizer = read_tokenizer_file(Path(recipe.language_model))
        encoding = make_encoding(recipe, tower.config, tokenizer)
        folders = (Path(recipe.language_model),)
    grow_vocabulary(language_model, encoding.image_token_id + 1)
    untie(language_model)
    config = new_config(
        encoding.tiles,
        vision_config=tower.config,
        text_config=language_model.config,
        image_token_index=encoding.image_token_id,
        image_seq_length=encoding.image_tokens,
        vision_feature_layer=recipe.vision_feature_layer,
        vision_feature_select_strategy=recipe.vision_feature_select_strategy,
        multimodal_projector_bias=checkpoint is None or checkpoint.config.projector_bias,
        tie_word_embeddings=language_model.config.tie_word_embeddings,
    )
    config.llava_edge = {
        "name": recipe.name,
        "prompt": saved_prompt(encoding.prompt),
        "image_token": recipe.image_token,
    }
    config.mm_projector_type = recipe.projector
    projector = new_projector(config)
    if checkpoint is not None:
        set_token_ids(config, checkpoint.file.values)
        load_init_projector(checkpoint, projector)
    tower.requires_grad_(False)  # until a stage says otherwise
    model = join(config, tower, projector, language_model)
    if checkpoint is not None and encoding.tiles:
        setattr(model.model, NEWLINE, load_init_newline(checkpoint))
    return Learner(model, tokenizer, encoding, folders)


def join(
    config: AnyConfig, tower: nn.Module, projector: nn.Module, language_model: PreTrainedModel
) -> AnyLlava:
    """Put loaded parts into transformers' LLaVA; `language_model` is a causal one.

    With tiles the newline is a new one, drawn at random.
    Raises TrainingError if LLaVA would build another decoder from its configuration.
    """
    with torch.device("meta"):  # nothing is allocated twice
        model = model_class(config)(config)
    decoder = language_model.base_model
    expected = type(model.model.language_model)
    if type(decoder) is not expected:
        raise TrainingError(
            f"The language model has a {type(decoder).__name__}, where transformers' LLaVA would "
            f"build a {expected.__name__}; choose a causal language model such as Llama or Qwen."
        )
    model.model.vision_tower = tower
    model.model.multi_modal_projector = projector
    if (newline := new_newline(config)) is not None:
        setattr(model.model, NEWLINE, newline)
    model.model.language_model = decoder
    model.lm_head = language_model.get_output_embeddings()
    return model


def compute_dtype(recipe: Recipe) -> torch.dtype:
    """What products are computed in: on a CPU without bf16 instructions, fp32 is 4 times faster."""
    if recipe.precision != "auto":
        return torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    cuda = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if cuda or torch.cpu._is_avx512_bf16_supported() else torch.float32


def tower_rows(model: AnyLlava, pixels: Tensor) -> Tensor:
    """The tower's rows [n, T, C] for pixels [n, 3, H, W], as the projector receives them.

    A frozen tower computes them in its own precision, whether they are kept or used at once, and
    one that learns as autocast says.
    """
    tower, config = model.model.vision_tower, model.config
    pixels = pixels.to(tower.device, tower.dtype, memory_format=torch.channels_last)
    with nullcontext() if learns(tower) else _frozen(pixels.device.type):
        hidden_states = tower(pixels, output_hidden_states=True).hidden_states
    states: Tensor = hidden_states[config.vision_feature_layer]
    return states[:, 1:] if config.vision_feature_select_strategy == "default" else states


def learns(part: nn.Module) -> bool:
    """Whether any weight of a part receives a gradient."""
    return any(parameter.requires_grad for parameter in part.parameters())


@contextmanager
def _frozen(device: str) -> Iterator[None]:
    with torch.no_grad(), torch.autocast(device, enabled=False):
        yield


def _load(
    recipe: Recipe, quantize: Literal["nf4"] | None
) -> tuple[PreTrainedModel, PreTrainedModel]:
    dtype = compute_dtype(recipe)
    with _loading(recipe.vision_tower):
        tower = load_tower(Path(recipe.vision_tower), dtype)
    with _loading(recipe.language_model):
        language_model = load_language_model(Path(recipe.language_model), dtype, quantize)
    return tower, language_model


@contextmanager
def _loading(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise TrainingError(
            f"{folder} cannot be loaded ({reason}); give a folder that transformers' "
            "save_pretrained has written."
        ) from error
