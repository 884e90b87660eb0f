"""The judge is the model that was saved, whether transformers opens the folder or we do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import DECODERS, TOWERS, Tiny, write_demo, write_llava

from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.reference import Reference

IDS = [7, 30, 31, 100, 9, 280]
ALL = {**DECODERS, **TOWERS, "tiles": Tiny(tiles=True, image_size=30)}


@pytest.mark.parametrize("tiny", ALL.values(), ids=ALL)
def test_both_ways_to_load_it_are_the_same(tmp_path: Path, photo: Image.Image, tiny: Tiny) -> None:
    model = write_llava(tmp_path, tiny)
    checkpoint = open_checkpoint(tmp_path)
    custom = tiny.projector == "linear" or tiny.tower == "efficientnet_lite"
    assert checkpoint.loads_in_transformers != custom
    built = Reference(replace(checkpoint, loads_in_transformers=False))
    with torch.no_grad():
        expected = model.float()(input_ids=torch.tensor([IDS])).logits[0].numpy()
    rows = built.embed(IDS)
    np.testing.assert_allclose(built.score(rows, range(len(IDS))), expected, atol=1e-3)
    if not custom:
        loaded = Reference(checkpoint)
        np.testing.assert_allclose(loaded.encode(photo), built.encode(photo), atol=1e-4)
        np.testing.assert_allclose(loaded.score(rows, [2]), expected[[2]], atol=1e-3)


def test_a_base_with_an_adapter(tmp_path: Path) -> None:
    tiny, base = Tiny(tower="efficientnet_lite", tied=True), tmp_path / "base.gguf"
    model = write_demo(tmp_path / "demo", base, tiny)
    reference = Reference(open_checkpoint(tmp_path / "demo", base=base))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(
        reference.score(reference.embed(IDS), [0, 3]), expected[[0, 3]], atol=1e-3
    )


def test_an_answer_is_what_the_model_generates(tmp_path: Path) -> None:
    model = write_llava(tmp_path)
    reference = Reference(open_checkpoint(tmp_path))
    ids = reference.answer(reference.embed(IDS), [], 8)
    with torch.no_grad():
        generated = model.generate(torch.tensor([IDS]), max_new_tokens=8, eos_token_id=-1)
    assert ids == generated[0, len(IDS) :].tolist()
    stopped = reference.answer(reference.embed(IDS), [ids[3]], 8)
    assert stopped == ids[: ids.index(ids[3]) + 1]
