"""What a checkpoint's config.json says of the LLaVA as a whole, read strictly.

Values that a file leaves out take transformers' defaults, since its older releases wrote only what
differs from them.
"""

from dataclasses import dataclass

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.text_config import TextConfig, read_text_config
from llava_edge.export.towers.known_towers import read_tower
from llava_edge.export.towers.vision_tower import VisionTower

# LLaVA-NeXT's own
GRID_PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


@dataclass(frozen=True)
class LlavaConfig:
    """Tower, projector and language model.

    `feature_layers` index the tower's hidden states (0: what enters the first layer), negative
    ones from the end; the rows of several layers are concatenated. `grid_pinpoints` are the
    (height, width) that LLaVA-NeXT chooses from to cut a picture into tiles; without any, a picture
    is shown to the tower whole.
    """

    tower: VisionTower
    text: TextConfig
    feature_layers: tuple[int, ...]
    drop_first_row: bool  # the class token's
    projector_layers: int  # linear ones, with GELU between them
    projector_bias: bool
    grid_pinpoints: tuple[tuple[int, int], ...] = ()

    @property
    def image_tokens(self) -> int:
        """How many rows the tower yields for what it is shown."""
        return self.tower.rows - self.drop_first_row


def read_llava_config(config: Section) -> LlavaConfig:
    """Read transformers' configuration of a LLaVA or a LLaVA-NeXT.

    Raises CheckpointError where it asks for what export does not support.
    """
    kind = config.choice("model_type", ("llava", "llava_next"))
    config.choice("projector_hidden_act", ("gelu",), "gelu")
    tower = read_tower(config.section("vision_config"))
    strategy = config.choice("vision_feature_select_strategy", ("default", "full"), "default")
    drop = strategy == "default"
    projector = config.choice("mm_projector_type", ("mlp2x_gelu", "linear"), "mlp2x_gelu")
    text = config.section("text_config")
    return LlavaConfig(
        tower=tower,
        text=read_text_config(text, tied=config.flag("tie_word_embeddings", False)),
        feature_layers=_feature_layers(config, tower, drop_first_row=drop),
        drop_first_row=drop,
        projector_layers=1 if projector == "linear" else 2,
        projector_bias=config.flag("multimodal_projector_bias", True),
        grid_pinpoints=_tiled(config, tower, drop_first_row=drop) if kind == "llava_next" else (),
    )


def _tiled(
    config: Section, tower: VisionTower, *, drop_first_row: bool
) -> tuple[tuple[int, int], ...]:
    check_square(config, tower, drop_first_row=drop_first_row)
    return read_grid_pinpoints(config, tower)


def check_square(config: Section, tower: VisionTower, *, drop_first_row: bool) -> None:
    """Raises CheckpointError where a tile's rows are no square, so tiles do not fit together."""
    if tower.has_class_token != drop_first_row:
        raise CheckpointError(
            f"{config.where} cuts pictures into tiles, but keeps the class token or drops a patch, "
            "so the tiles do not fit together; choose another feature selection."
        )


def read_grid_pinpoints(config: Section, tower: VisionTower) -> tuple[tuple[int, int], ...]:
    """The (height, width) that pictures are cut into tiles at.

    Raises CheckpointError where they do not fit the tower.
    """
    value = config.values.get("image_grid_pinpoints", [list(pair) for pair in GRID_PINPOINTS])
    pairs = value if isinstance(value, list) else []
    size = tower.image_size
    right = [
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(side) is int and side > 0 and side % size == 0 for side in pair)
        for pair in pairs
    ]
    if not pairs or not all(right):
        raise CheckpointError(
            f"{config.where} gives {value} as image_grid_pinpoints, but a list of [height, width] "
            f"in multiples of the tower's {size} pixels is what export supports."
        )
    return tuple((height, width) for height, width in pairs)


def _feature_layers(
    config: Section, tower: VisionTower, *, drop_first_row: bool
) -> tuple[int, ...]:
    value = config.values.get("vision_feature_layer", -2)
    layers = (value,) if type(value) is int else config.integers("vision_feature_layer")
    tower.check_features(layers, config.where, drop_first_row=drop_first_row)
    return layers
