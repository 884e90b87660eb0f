"""What config.json says of a vision tower, read strictly, with transformers' defaults."""

from dataclasses import dataclass, replace

from llava_edge.core.strict import Section
from llava_edge.errors import CheckpointError


@dataclass(frozen=True)
class ClipConfig:
    """A CLIP vision transformer."""

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    layer_norm_eps: float
    hidden_act: str  # "quick_gelu", "gelu" or "gelu_pytorch_tanh"

    model_type = "clip_vision_model"
    has_class_token = True

    @property
    def side(self) -> int:
        """How many patches a picture is wide."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class SiglipConfig:
    """A SigLIP vision transformer: like CLIP's, without class token and first norm."""

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    layer_norm_eps: float
    hidden_act: str

    model_type = "siglip_vision_model"
    has_class_token = False

    @property
    def side(self) -> int:
        """How many patches a picture is wide."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class Dinov2Config:
    """A DINOv2 vision transformer; its positions are interpolated to the pictures it is shown."""

    image_size: int  # of the pictures it is shown
    trained_size: int  # of those that its positions were trained on
    patch_size: int
    hidden_size: int
    mlp_ratio: float
    intermediate_size: int  # of SwiGLU: what its last layer takes
    num_layers: int
    num_heads: int
    layer_norm_eps: float
    hidden_act: str
    qkv_bias: bool
    swiglu: bool

    model_type = "dinov2"
    has_class_token = True

    @property
    def side(self) -> int:
        """How many patches a picture is wide."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """A mobile CNN; a stage is (kernel, stride, expand ratio, channels, repeats)."""

    image_size: int
    stem_channels: int
    stages: tuple[tuple[int, int, int, int, int], ...]
    head_channels: int
    fine_stage: int  # whose output joins the head's map at twice its resolution

    model_type = "efficientnet_lite"
    has_class_token = False

    @property
    def hidden_size(self) -> int:
        return self.head_channels + 4 * self.stages[self.fine_stage][3]


VitConfig = ClipConfig | SiglipConfig | Dinov2Config
TowerConfig = VitConfig | EfficientNetLiteConfig
MODEL_TYPES = (
    "clip_vision_model",
    "siglip_vision_model",
    "dinov2",
    "efficientnet_lite",
)


def read_tower_config(vision: Section) -> TowerConfig:
    """Raises CheckpointError where the tower is not one that export supports."""
    kind = vision.choice("model_type", MODEL_TYPES, "clip_vision_model")
    if vision.integer("num_channels", 3) != 3:
        raise CheckpointError(f"{vision.where} must give 3 as num_channels: pictures are RGB.")
    readers = {
        "siglip_vision_model": _siglip,
        "dinov2": _dinov2,
        "efficientnet_lite": _efficientnet,
    }
    return readers.get(kind, _clip)(vision)


def shown(tower: TowerConfig, size: int) -> TowerConfig:
    """The tower for pictures of that size; DINOv2 alone takes any, interpolating positions."""
    return replace(tower, image_size=size) if isinstance(tower, Dinov2Config) else tower


def _clip(vision: Section) -> TowerConfig:
    _check_sizes(vision, image_size=224, patch_size=32)
    return ClipConfig(
        image_size=vision.integer("image_size", 224),
        patch_size=vision.integer("patch_size", 32),
        hidden_size=vision.integer("hidden_size", 768),
        intermediate_size=vision.integer("intermediate_size", 3072),
        num_layers=vision.integer("num_hidden_layers", 12),
        num_heads=vision.integer("num_attention_heads", 12),
        layer_norm_eps=vision.number("layer_norm_eps", 1e-5),
        hidden_act=_activation(vision, "quick_gelu"),
    )


def _siglip(vision: Section) -> TowerConfig:
    _check_sizes(vision, image_size=224, patch_size=16)
    return SiglipConfig(
        image_size=vision.integer("image_size", 224),
        patch_size=vision.integer("patch_size", 16),
        hidden_size=vision.integer("hidden_size", 768),
        intermediate_size=vision.integer("intermediate_size", 3072),
        num_layers=vision.integer("num_hidden_layers", 12),
        num_heads=vision.integer("num_attention_heads", 12),
        layer_norm_eps=vision.number("layer_norm_eps", 1e-6),
        hidden_act=_activation(vision, "gelu_pytorch_tanh"),
    )


def _dinov2(vision: Section) -> TowerConfig:
    _check_sizes(vision, image_size=224, patch_size=14)
    hidden_size = vision.integer("hidden_size", 768)
    swiglu = vision.flag("use_swiglu_ffn", False)
    ratio = vision.number("mlp_ratio", 4)
    inner = int(hidden_size * ratio)
    image_size = vision.integer("image_size", 224)
    return Dinov2Config(
        image_size=image_size,
        trained_size=image_size,
        patch_size=vision.integer("patch_size", 14),
        hidden_size=hidden_size,
        mlp_ratio=ratio,
        intermediate_size=(inner * 2 // 3 + 7) // 8 * 8 if swiglu else inner,
        num_layers=vision.integer("num_hidden_layers", 12),
        num_heads=vision.integer("num_attention_heads", 12),
        layer_norm_eps=vision.number("layer_norm_eps", 1e-6),
        hidden_act=_activation(vision, "gelu"),
        qkv_bias=vision.flag("qkv_bias", True),
        swiglu=swiglu,
    )


def _efficientnet(vision: Section) -> TowerConfig:
    value = vision.values.get("stages")
    rows = value if isinstance(value, list) else []
    stages = []
    for position, row in enumerate(rows):
        stage = Section({"stages": row}, f"{vision.where}, stage {position},").integers("stages", 5)
        kernel, stride, ratio, channels, repeats = stage
        stages.append((kernel, stride, ratio, channels, repeats))
    fine_stage = vision.values.get("fine_stage")
    if not stages or type(fine_stage) is not int or not 0 <= fine_stage < len(stages):
        raise CheckpointError(
            f"{vision.where} must give stages, a list of [kernel, stride, expand, channels, "
            "repeats], and fine_stage, the position of one of them."
        )
    return EfficientNetLiteConfig(
        image_size=vision.integer("image_size"),
        stem_channels=vision.integer("stem_channels"),
        stages=tuple(stages),
        head_channels=vision.integer("head_channels"),
        fine_stage=fine_stage,
    )


def _activation(vision: Section, default: str) -> str:
    return vision.choice("hidden_act", ("quick_gelu", "gelu", "gelu_pytorch_tanh"), default)


def _check_sizes(vision: Section, *, image_size: int, patch_size: int) -> None:
    hidden_size = vision.integer("hidden_size", 768)
    heads = vision.integer("num_attention_heads", 12)
    image, patch = (
        vision.integer("image_size", image_size),
        vision.integer("patch_size", patch_size),
    )
    if hidden_size % heads or image < patch:
        raise CheckpointError(
            f"{vision.where} contradicts itself: hidden_size must be a multiple of "
            "num_attention_heads, and image_size at least patch_size."
        )
