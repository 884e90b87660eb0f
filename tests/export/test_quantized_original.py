"""The judge of quantized weights is the library that owns their format, where it is installed."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from quantized_checkpoints import write_bitsandbytes, write_compressed, write_fp8, write_gptq
from tiny import Tiny, write_llava
from transformers import AutoConfig, LlavaForConditionalGeneration

from llava_edge.export.layouts.checkpoint import open_checkpoint
from llava_edge.export.reference import Reference

IDS = [7, 30, 31, 100, 9, 280]
OWN = "compared with our own reading of the"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_llava(folder, Tiny(dtype=torch.bfloat16))
    return folder


@pytest.mark.parametrize("kind", ["bitsandbytes", "compressed-tensors", "fp8"])
def test_it_is_the_model_that_the_library_opens(
    source: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "quantized"
    if kind == "bitsandbytes":
        write_bitsandbytes(source, folder, load_in_8bit=True)
    elif kind == "fp8":
        write_fp8(source, folder, 16, 32)
    else:
        write_compressed(source, folder, "pack-quantized", num_bits=4, strategy="channel")
    with caplog.at_level(logging.INFO, "llava_edge"):
        reference = Reference(open_checkpoint(folder), judging=True)
    assert OWN not in caplog.text
    config = AutoConfig.from_pretrained(folder)
    config.quantization_config["run_compressed"] = False
    kwargs = {"config": config, "dtype": torch.float32}
    theirs = LlavaForConditionalGeneration.from_pretrained(folder, **kwargs)
    if kind != "bitsandbytes":  # of the others only the dequantized layers are in float32
        theirs = theirs.float()
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([IDS])).logits[0].float().numpy()
    found = reference.score(reference.embed(IDS), range(len(IDS)))
    tolerance = 0.1 if kind == "bitsandbytes" else 0.02  # which also rounds activations to 8 bits
    np.testing.assert_allclose(found, expected, atol=tolerance)
    layer = reference.model.model.language_model.layers[0].mlp.down_proj
    assert type(layer) is torch.nn.Linear and layer.weight.dtype == reference.model.dtype


def test_our_own_reading_is_called_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """GPTQ's library is not among those that the tests run with."""
    model = write_gptq(tmp_path)
    reference = Reference(open_checkpoint(tmp_path), judging=True)
    assert f"{OWN} gptq weights" in caplog.text and "optimum" in caplog.text
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([IDS])).logits[0].numpy()
    found = reference.score(reference.embed(IDS), range(len(IDS)))
    np.testing.assert_allclose(found, expected, atol=1e-3)
