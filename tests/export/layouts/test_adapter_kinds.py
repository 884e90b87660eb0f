"""Adapters of every kind that peft writes become what peft makes of them, or are refused."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import EvaConfig, initialize_lora_eva_weights
from tiny import Tiny
from tiny_adapters import IDS, LANGUAGE, edit_adapter, logits, write_adapter

from llava_edge.errors import CheckpointError
from llava_edge.export.layouts.checkpoint import Checkpoint, open_checkpoint
from llava_edge.export.layouts.tensor_names import canonical
from llava_edge.export.reference import Reference

BOTH = ["embed_tokens", "lm_head"]


def assert_computes(checkpoint: Checkpoint, model: Any, judging: bool = False) -> None:
    reference = Reference(checkpoint, judging=judging)
    found = reference.score(reference.embed(list(IDS)), range(len(IDS)))
    np.testing.assert_allclose(found, logits(model), atol=2e-4)


def assert_merged(checkpoint: Checkpoint, merged: Any) -> None:
    expected = {canonical(name): tensor for name, tensor in merged.state_dict().items()}
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_allclose(tensor.read(), expected[name], atol=2e-5, err_msg=name)


def initial(folder: Path) -> Callable[[Any], dict[str, Any]]:
    """Save an adapter before its training, so that it can be converted to plain LoRA after it."""

    def save(model: Any) -> dict[str, Any]:
        config = model.peft_config["default"]
        init, config.init_lora_weights = config.init_lora_weights, True
        model.save_pretrained(folder)
        config.init_lora_weights = init
        return {"path_initial_model_for_weight_conversion": str(folder)}

    return save


def spelt(value: object) -> str:
    """The same in every process, which the address of a function is not."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": init}
        for init in (True, False, "gaussian", "eva", "orthogonal", "mica", "pissa", "olora")
    ]
    + [
        {"init_lora_weights": "pissa", "use_rslora": True, "rank_pattern": {"down_proj": 3}},
        {"init_lora_weights": "olora", "use_rslora": True, "alpha_pattern": {"down_proj": 3}},
        {"use_dora": True},
        {"init_lora_weights": "pissa", "use_dora": True},
        {"init_lora_weights": "olora", "use_dora": True},
        {"target_modules": ["q_proj", "fc2"]},  # the tower's as well
    ],
    ids=spelt,
)
def test_merged_as_peft_merges_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = write_adapter(tmp_path / "adapter", tmp_path / "base", **settings)
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert_computes(checkpoint, model)
    assert_computes(checkpoint, model, judging=True)
    assert_merged(checkpoint, model.merge_and_unload())


def test_eva_gives_layers_ranks_of_their_own(tmp_path: Path) -> None:
    """By what data show of each layer's inputs; the base stays as it is."""

    def fit(model: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        ids = [{"input_ids": torch.randint(4, 290, (2, 40))} for _ in range(8)]
        initialize_lora_eva_weights(model, ids, show_progress_bar=False)
        return {}

    settings = {"init_lora_weights": "eva", "eva_config": EvaConfig(rho=2.0)}
    model = write_adapter(tmp_path / "adapter", tmp_path / "base", save=fit, **settings)
    assert len(set(model.peft_config["default"].rank_pattern.values())) > 1
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert_computes(checkpoint, model)
    assert_computes(checkpoint, model, judging=True)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_are_read(tmp_path: Path, bias: str) -> None:
    model = write_adapter(
        tmp_path / "adapter", tmp_path / "base", tiny=Tiny(decoder="qwen2"), bias=bias
    )
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert_computes(checkpoint, model, judging=True)
    assert_merged(checkpoint, model.merge_and_unload())


def test_a_base_in_16_bits_loses_what_pissa_began_with(tmp_path: Path) -> None:
    """In the base's own type, whose rounding is all that we do without."""
    tiny = Tiny(dtype=torch.bfloat16)
    model = write_adapter(
        tmp_path / "adapter", tmp_path / "base", tiny=tiny, init_lora_weights="pissa"
    )
    found = open_checkpoint(tmp_path / "adapter").tensors
    for name, tensor in model.merge_and_unload().state_dict().items():
        if canonical(name) in found:
            expected = tensor.float().numpy()
            np.testing.assert_allclose(found[canonical(name)].read(), expected, atol=0.01)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_2", "olora"])
def test_converted_adapters_are_plain_lora(tmp_path: Path, init: str) -> None:
    """The way out that a refusal names."""
    model = write_adapter(
        tmp_path / "adapter",
        tmp_path / "base",
        init_lora_weights=init,
        save=initial(tmp_path / "initial"),
    )
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert_computes(checkpoint, model)
    assert_computes(checkpoint, model, judging=True)


@pytest.mark.parametrize("init", ["pissa_niter_2", "corda", "lora_ga", "loftq"])
def test_what_the_file_does_not_hold_is_refused(tmp_path: Path, init: str) -> None:
    """CorDA and LoRA-GA begin with what data make of the weights, LoftQ needs a GPU."""
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    edit_adapter(tmp_path / "adapter", init_lora_weights=init)
    way_out = "" if init == "loftq" else ".*path_initial_model_for_weight_conversion"
    with pytest.raises(
        CheckpointError, match=f'gives "{init}"{way_out}.*merge_and_unload'
    ) as error:
        open_checkpoint(tmp_path / "adapter")
    assert ("path_initial" in str(error.value)) == bool(way_out)


def test_an_init_that_is_not_known_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    edit_adapter(tmp_path / "adapter", init_lora_weights="something_new")
    with pytest.raises(CheckpointError, match='gives "something_new" as init_lora_weights, but'):
        open_checkpoint(tmp_path / "adapter")


@pytest.mark.parametrize("tied", [False, True], ids=["two tables", "tied"])
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["embed_tokens", "lm_head"], "init_lora_weights": "pissa"},
        {"target_modules": ["q_proj", "lm_head"], "init_lora_weights": "olora"},
        {"target_modules": ["embed_tokens"], "use_dora": True},
        {"target_modules": BOTH, "ensure_weight_tying": True},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": BOTH},
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        {"trainable_token_indices": [3, 5]},
        {"trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [3, 5]}},
        {"trainable_token_indices": {"embed_tokens": [3, 5], "lm_head": [3, 7]}},
        {"rows": 300, "modules_to_save": BOTH},
        {"rows": 288, "modules_to_save": ["embed_tokens"]},  # the head's first 288
        {"rows": 300, "save": lambda _: {"save_embedding_layers": True}},
        {"rows": 295, "trainable_token_indices": {t: [3, 293, 294] for t in BOTH}},
        {
            "target_modules": ["q_proj", "lm_head"],
            "init_lora_weights": "pissa",
            "save": lambda _: {"save_embedding_layers": False},
        },
    ],
    ids=spelt,
)
def test_tables_are_what_peft_computes_with(
    tmp_path: Path, tied: bool, settings: dict[str, Any]
) -> None:
    settings = copy.deepcopy(settings)  # peft changes some of the lists
    model = write_adapter(tmp_path / "adapter", tmp_path / "base", tiny=Tiny(tied=tied), **settings)
    checkpoint = open_checkpoint(tmp_path / "adapter")
    assert checkpoint.config.text.vocab_size == settings.get("rows", 293)
    assert_computes(checkpoint, model)
    assert_computes(checkpoint, model, judging=True)


@pytest.mark.parametrize(
    ("settings", "stays"),
    [
        ({"modules_to_save": ["embed_tokens"]}, False),
        ({"target_modules": ["lm_head"]}, False),
        ({"target_modules": BOTH, "ensure_weight_tying": True}, True),
        ({"trainable_token_indices": [3, 5]}, True),
        ({"rows": 300, "save": lambda _: {"save_embedding_layers": True}}, True),
        ({}, True),
    ],
    ids=spelt,
)
def test_tied_tables_part_only_where_the_adapter_parts_them(
    tmp_path: Path, settings: dict[str, Any], stays: bool
) -> None:
    settings = copy.deepcopy(settings)
    write_adapter(tmp_path / "adapter", tmp_path / "base", tiny=Tiny(tied=True), **settings)
    assert open_checkpoint(tmp_path / "adapter").config.text.tied == stays


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rows": 300, "modules_to_save": ["embed_tokens"]}, "300 rows, but .* 293; train and"),
        ({"rows": 296, "trainable_token_indices": [3, 293, 295]}, "none for 294"),
        ({"rows": 295, "trainable_token_indices": [3, 293, 294]}, "295 rows, but .* 293; train"),
    ],
    ids=spelt,
)
def test_rows_that_are_nowhere_are_refused(
    tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base", **settings)
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(tmp_path / "adapter")


def test_a_file_without_what_was_trained_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base")
    edit_adapter(tmp_path / "adapter", modules_to_save=["embed_tokens"])
    with pytest.raises(CheckpointError, match="holds nothing of embed_tokens"):
        open_checkpoint(tmp_path / "adapter")


def test_a_base_at_a_revision_is_not_replaced_by_another(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", tmp_path / "base", revision="v2")
    open_checkpoint(tmp_path / "adapter")  # a folder has no revisions
    edit_adapter(tmp_path / "adapter", base_model_name_or_path="org/model")
    with pytest.raises(CheckpointError, match=r"revision v2 .* with --base"):
        open_checkpoint(tmp_path / "adapter")
    open_checkpoint(tmp_path / "adapter", base=tmp_path / "base")


def test_all_that_a_configuration_sets_is_known(tmp_path: Path) -> None:
    """What is written by the installed peft with nothing set is accepted."""
    write_adapter(tmp_path / "adapter", tmp_path / "base", target_modules=LANGUAGE)
    assert open_checkpoint(tmp_path / "adapter").unadapted is not None
