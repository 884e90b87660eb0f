"""The roofline counts every weight and operation of the model's graphs once."""

from pathlib import Path

import pytest
from tiny import Tiny, llava, write_llava

from llava_edge import load
from llava_edge.bench.machine_limits import Limits
from llava_edge.bench.roofline import Roofline, roofline
from llava_edge.export.export import export
from llava_edge.runtime.model import Llava

LIMITS = Limits(bandwidth=1e9, float32=1e9, int8=4e9)


def roof_of(model: Llava) -> Roofline:
    return roofline(model, LIMITS.bandwidth, floats=LIMITS.float32, whole_numbers=LIMITS.int8)


def test_decode_reads_the_weights_and_the_cache(model: Llava) -> None:
    roof = roof_of(model)
    quantization, decoder = model.config.quantization, model.config.decoder
    matrices = quantization.weights * quantization.bits_per_weight / 8
    table = decoder.vocab_size * decoder.hidden_size  # not tied: gathered, not read as a whole
    matrices -= table * (4 if quantization.method == "none" else 1)
    assert not roof.tied
    assert roof.decoder_bytes == pytest.approx(matrices, rel=0.1)  # and the norms
    row = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * 4
    assert roof.decode(100) - roof.decode(0) == pytest.approx(100 * row / LIMITS.bandwidth)
    assert roof.least("decode", 7) == roof.decode(7) and roof.least("ttft", 1) is None


def test_prefill_multiplies_every_weight_once_a_token(model: Llava) -> None:
    roof = roof_of(model)
    decoder, peak = model.config.decoder, roof.products
    whole_numbers = model.config.quantization.bits < 16
    assert peak == (LIMITS.int8 if whole_numbers else LIMITS.float32)
    table = decoder.vocab_size * decoder.hidden_size
    layers = model.config.quantization.weights - 2 * table
    attention = 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim / LIMITS.float32
    assert roof.prefill(1) == pytest.approx(2 * (layers + table) / peak + attention)
    assert roof.prefill(9) - roof.prefill(1) == pytest.approx(16 * layers / peak + 44 * attention)


def test_a_tied_head_is_counted_once(tmp_path: Path) -> None:
    write_llava(tmp_path / "checkpoint", Tiny(tied=True))
    export(tmp_path / "checkpoint", tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    roof = roof_of(model)
    quantization = model.config.quantization
    assert roof.tied
    matrices = quantization.weights * quantization.bits_per_weight / 8
    assert roof.decoder_bytes == pytest.approx(matrices, rel=0.1)


def test_the_tower_is_counted_from_its_graph(model: Llava) -> None:
    """Two for each weight and patch, and attention's products."""
    tower = llava(Tiny()).model
    patches, size = 36, 40
    layers = tower.vision_tower.encoder.layers[:-1]  # the last is not needed
    weights = sum(p.numel() for p in layers.parameters() if p.ndim > 1)
    weights *= patches + 1  # the class token
    weights += patches * tower.vision_tower.embeddings.patch_embedding.weight.numel()
    projector = sum(p.numel() for p in tower.multi_modal_projector.parameters() if p.ndim > 1)
    attention = 4 * len(layers) * size * (patches + 1) ** 2
    expected = 2 * (weights + patches * projector) + attention
    roof = roof_of(model)
    assert roof.tile_operations == pytest.approx(expected, rel=0.02)
    assert roof.encode(3) == 3 * roof.tile_operations / LIMITS.float32
