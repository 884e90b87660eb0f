"""docs/dpo.md: a checkpoint of a run learns preferences by TRL, and export reads the adapter."""

import json
import re
from pathlib import Path

import pytest
import torch
from places import ROOT
from safetensors.torch import load_file
from sessions import EXACT
from tiny_training import write_recipe

from llava_edge import Options, load
from llava_edge.core.prompt import WrittenMessage, render
from llava_edge.export.export import export
from llava_edge.train.models.learner import build
from llava_edge.train.recipe import load_recipe
from llava_edge.train.train import train

pytest.importorskip("trl", reason="the guide needs TRL: pip install trl")
pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL's making and its libraries'


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_recipe(tmp_path)
    train(recipe)
    monkeypatch.chdir(tmp_path)
    names = ("0.png", "1.png", "2.png")
    said = {"question": "What is this?", "chosen": "A cat.", "rejected": "A dog or a tree."}
    preferences = [{"image": f"pictures/{name}", **said} for name in names]
    (tmp_path / "preferences.json").write_text(json.dumps(preferences))
    guide = (ROOT / "docs" / "dpo.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    found: dict[str, object] = {"__name__": "guide"}
    exec(compile(program, "docs/dpo.md", "exec"), found)

    learner = build(load_recipe(recipe))
    encoding = learner.encoding
    turns = (
        WrittenMessage("user", f"<image>\n{said['question']}"),
        WrittenMessage("assistant", said["chosen"]),
    )
    segments = render(turns, encoding.prompt, encoding.tokenizer)
    words = [id for part in segments if hasattr(part, "ids") for id in part.ids]
    trainer = found["trainer"]
    batch = trainer.data_collator([trainer.train_dataset[0]])  # type: ignore[attr-defined]
    row = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
    assert [id for id in row if id != encoding.image_token_id] == words
    assert row.count(encoding.image_token_id) == encoding.image_tokens

    adapter = load_file(tmp_path / "run" / "dpo" / "adapter_model.safetensors")
    assert any(tensor.any() for name, tensor in adapter.items() if "lora_B" in name)
    export(tmp_path / "run/dpo", tmp_path / "tuned", base=tmp_path / "run/stage2", precision=EXACT)
    tuned = load(tmp_path / "tuned")
    pieces = list(tuned.stream("Hello", options=Options(max_tokens=2)))
    assert pieces[-1].timings is not None
    with torch.no_grad():
        assert tuned.encode_image(tmp_path / "pictures" / "0.png").rows.shape[0] == 36
