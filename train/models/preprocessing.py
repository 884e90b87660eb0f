"""How pictures become pixels, written for transformers and export."""

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.hub.preprocessor_config import RESAMPLE

NUMBERS = {name: number for number, name in RESAMPLE.items()}


def image_processor(image: ImageConfig) -> dict[str, object]:
    """The `preprocessor_config.json` by which transformers and export prepare pictures alike."""
    sides = {"height": image.size, "width": image.size}
    normal = {
        "image_mean": list(image.mean),
        "image_std": list(image.std),
        "resample": NUMBERS[image.resample],
    }
    if image.mode == "stretch":
        return {"image_processor_type": "SiglipImageProcessor", "size": sides, **normal}
    return {
        "image_processor_type": "LlavaImageProcessor",
        "size": {"shortest_edge": image.shortest_edge or image.size},
        "crop_size": sides,
        "do_pad": image.mode == "pad",
        **normal,
    }
