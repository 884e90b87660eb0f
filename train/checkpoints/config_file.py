"""config.json of a LLaVA checkpoint, as transformers 4.57 and 5 both read it."""

import json
from pathlib import Path
from typing import Any

from llava_edge.train.models.llava_kind import AnyConfig, model_class

_LONGROPE = ("short_factor", "long_factor")


def write_config(config: AnyConfig, folder: Path) -> None:
    """Write config.json as transformers 5 does, with rotary settings under their old names too."""
    config.architectures = [model_class(config).__name__]
    config.save_pretrained(folder)
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    text = values["text_config"]
    text |= _old_rope(text.get("rope_parameters") or {}, text["model_type"])
    for part in (values, text, values["vision_config"]):
        part.pop("_name_or_path", None)  # a path on the machine that trained
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _old_rope(rope: dict[str, Any], model_type: str) -> dict[str, Any]:
    """`rope_parameters` as transformers 4 reads them: `rope_theta`, `rope_scaling` and others."""
    if "full_attention" in rope:  # Gemma 3's: one for each kind of layer
        local = rope.get("sliding_attention", {})
        old = _old_rope(rope["full_attention"], model_type)
        return old | {"rope_local_base_freq": local.get("rope_theta", 10000.0)}
    if "rope_theta" not in rope:
        return {}
    old = {"rope_theta": rope["rope_theta"]}
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if model_type == "gpt_neox":
        old = {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope["partial_rotary_factor"]}
    kind = rope.get("rope_type", "default")
    if kind == "longrope":  # Phi-3's, which had to have these three keys and no others
        old["rope_scaling"] = {"type": kind, **{name: rope[name] for name in _LONGROPE}}
    elif kind != "default":
        kept = ("rope_theta", "partial_rotary_factor")
        old["rope_scaling"] = {name: value for name, value in rope.items() if name not in kept}
    return old
