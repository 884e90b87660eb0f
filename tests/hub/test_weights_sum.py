"""One sum names a model's weights, and another one's are never taken for them."""

import hashlib
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

from llava_edge.hub.weights_sum import weights_sum

INDEX = "model.safetensors.index.json"


def write(folder: Path, shard: str) -> LlamaForCausalLM:
    sizes = {"hidden_size": 24, "intermediate_size": 40, "vocab_size": 70}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_hidden_layers=2))
    model.save_pretrained(folder, max_shard_size=shard)
    return model


def test_the_sum_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    write(tmp_path, "1GB")
    file = tmp_path / "model.safetensors"
    assert weights_sum(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_models_of_one_shape_in_several_files_have_other_sums(tmp_path: Path) -> None:
    sums = set()
    for name in ("one", "other"):
        model = write(tmp_path / name, "20KB")
        assert len(list((tmp_path / name).glob("*.safetensors"))) > 2
        sums.add(weights_sum(tmp_path / name / INDEX))
    assert (tmp_path / "one" / INDEX).read_bytes() == (tmp_path / "other" / INDEX).read_bytes()
    assert len(sums) == 2
    model.save_pretrained(tmp_path / "again", max_shard_size="20KB")
    assert weights_sum(tmp_path / "again" / INDEX) in sums
