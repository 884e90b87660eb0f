"""All spellings of a tensor's name become one."""

import pytest

from llava_edge.export.layouts.tensor_names import canonical

Q = "layers.3.self_attn.q_proj.weight"
CLASS = "vision_tower.embeddings.class_embedding"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"language_model.model.{Q}", f"language_model.{Q}"),
        (f"model.language_model.{Q}", f"language_model.{Q}"),
        (f"model.{Q}", f"language_model.{Q}"),
        (f"language_model.{Q}", f"language_model.{Q}"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("lm_head.weight", "lm_head.weight"),
        ("vision_tower.vision_model.embeddings.class_embedding", CLASS),
        ("model.vision_tower.vision_model.embeddings.class_embedding", CLASS),
        ("model.vision_tower.embeddings.class_embedding", CLASS),
        ("model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"),
    ],
)
def test_canonical(name: str, expected: str) -> None:
    assert canonical(name) == expected
    assert canonical(expected) == expected
