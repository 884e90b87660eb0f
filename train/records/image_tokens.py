"""How many image tokens a picture becomes, from the tower's config.json alone."""

import json
from math import prod
from pathlib import Path

from llava_edge.errors import TrainingError
from llava_edge.train.recipe import Recipe

CLASS_TOKEN = ("clip", "clip_vision_model", "dinov2")  # towers whose first row is no patch


def count_image_tokens(recipe: Recipe) -> int:
    """The rows that the tower yields for a picture, as the recipe selects them.

    Raises TrainingError for a configuration that does not say it.
    """
    path = Path(recipe.vision_tower) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config = config.get("vision_config", config) | {"model_type": config["model_type"]}
        kind = config["model_type"]
        if kind == "efficientnet_lite":  # whose stem halves the picture, and stages as they say
            stride = 2 * prod(stage[1] for stage in config["stages"])
            side = -(-config["image_size"] // stride)
        else:
            side = config["image_size"] // config["patch_size"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{path} does not say how many image tokens a picture becomes ({error!r}); give a "
            "vision tower's own folder, with model_type, image_size and patch_size."
        ) from error
    class_tokens = 1 if kind in CLASS_TOKEN else 0
    dropped = 1 if recipe.vision_feature_select_strategy == "default" else 0
    return int(side) ** 2 + class_tokens - dropped
