"""LLaVA-NeXT's tiles as a recipe asks for them, checked against its tower."""

from transformers import PretrainedConfig

from llava_edge.core.bundle_config import TensorRef, TilesConfig
from llava_edge.errors import TrainingError
from llava_edge.train.models.tower_shape import TowerShape
from llava_edge.train.recipe import Recipe

_NOWHERE = TensorRef(0, (), "")  # of a newline that is in no weights.bin


def read_tiles(
    recipe: Recipe, config: PretrainedConfig, size: int, shape: TowerShape
) -> TilesConfig | None:
    """The sizes at which pictures are cut into tiles of `size` x `size`; None without any.

    Raises TrainingError if they do not fit the tower as transformers' LlavaNext joins tiles: from
    rows that are one for each patch, of pictures that have the tower's own size.
    """
    pairs = recipe.image_grid_pinpoints
    if not pairs:
        return None
    where = f"The vision tower {recipe.vision_tower} ({config.model_type})"
    if any(side <= 0 or side % size for pair in pairs for side in pair):
        raise TrainingError(
            f"image_grid_pinpoints is {[list(pair) for pair in pairs]}, but the tower takes tiles "
            f"of {size} pixels; give [height, width] in multiples of {size}."
        )
    patch = getattr(config, "patch_size", None)
    if not patch or size != config.image_size:
        raise TrainingError(
            f"{where} cannot see tiles, which transformers' LLaVA-NeXT joins by the tower's "
            "patch_size and image_size; choose CLIP or SigLIP, or drop image_grid_pinpoints."
        )
    if shape.image_tokens != (size // patch) ** 2:
        raise TrainingError(
            f"{where} yields {shape.image_tokens} rows for a tile of {(size // patch) ** 2} "
            "patches, so tiles do not fit together; change vision_feature_select_strategy."
        )
    return TilesConfig(pairs, _NOWHERE)
