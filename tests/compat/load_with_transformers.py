"""Run with any transformers: what checkpoints' LLaVAs compute, and how their weights were found.

    python load_with_transformers.py FOLDER...

A folder holds `checkpoint/` and `inputs.npz`; `out.json` is written beside them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import LlavaForConditionalGeneration

for folder in map(Path, sys.argv[1:]):
    model, report = LlavaForConditionalGeneration.from_pretrained(
        folder / "checkpoint", output_loading_info=True, dtype=torch.float32
    )
    arrays = {
        name: torch.from_numpy(array) for name, array in np.load(folder / "inputs.npz").items()
    }
    with torch.no_grad():
        logits = model(**arrays).logits
    found = {name: sorted(map(str, names)) for name, names in report.items()}
    values = {"version": transformers.__version__, "report": found, "logits": logits.tolist()}
    (folder / "out.json").write_text(json.dumps(values), encoding="utf-8")
