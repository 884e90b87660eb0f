"""What config.json may say of a tower."""

EFFICIENTNET: dict[str, object] = {
    "model_type": "efficientnet_lite",
    "image_size": 64,
    "stem_channels": 8,
    "stages": [[3, 1, 1, 8, 1], [5, 2, 6, 12, 2]],
    "head_channels": 30,
    "fine_stage": 0,
}
