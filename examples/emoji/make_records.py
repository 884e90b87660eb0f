"""Draw training scenes and write their pictures and LLaVA records, stage1.json and stage2.json.

    python examples/emoji/make_records.py --scenes 8000 --brief-scenes 6000 --seed 1 \\
        --out build/emoji/train

Each scene is used once. Besides LLaVA's own keys a record has `objects`: names and boxes (left,
top, right, bottom in 0..1), for the warm start of the projector, and `context`: what a
language-only model would be shown of the scene.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import TypedDict

import numpy as np
from context import SceneTurn, symbolic_context
from names import FLUENT_STYLES, TRAINING_STYLES, load_names
from scenes import TRAINING, Scene, draw_scene, held_out_pairs
from sprites import DEFAULT_SPRITES, SpriteSheet, load_sheet
from words import PROPORTIONS, write_brief, write_instruction

JPEG_QUALITY = 92


class SceneRecord(TypedDict):
    """A LLaVA record and our keys `objects` and `context`."""

    id: str
    image: str
    conversations: list[dict[str, str]]
    objects: list[dict[str, object]]
    context: str


def make_record(name: str, scene: Scene, turns: list[SceneTurn]) -> SceneRecord:
    """A scene and its turns as a LLaVA record; the picture stands before the first question."""
    conversations = []
    for index, turn in enumerate(turns):
        question = f"<image>\n{turn.question}" if index == 0 else turn.question
        conversations.append({"from": "human", "value": question})
        conversations.append({"from": "gpt", "value": turn.answer})
    return SceneRecord(
        id=name,
        image=f"pictures/{name}.jpg",
        conversations=conversations,
        objects=[{"name": one.name, "box": list(one.box)} for one in scene.objects],
        context=symbolic_context(scene),
    )


def draw_record(out: Path, sprites: Path, seed: int, stage: int, index: int) -> SceneRecord:
    """Draw one scene, write its picture, and return its record; depends on its numbers alone."""
    rng = np.random.default_rng([seed, stage, index])
    scene, picture = draw_scene(rng, _sheet(sprites), TRAINING)
    turns = write_brief(rng, scene) if stage == 1 else write_instruction(rng, scene)[1]
    name = f"stage{stage}-{seed}-{index:06d}"
    picture.save(out / f"pictures/{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
    return make_record(name, scene, turns)


@cache
def _sheet(path: Path) -> SpriteSheet:
    return load_sheet(path)  # once a process


def make_stage(
    out: Path, *, sprites: Path, seed: int, stage: int, scenes: int, processes: int = 2
) -> None:
    """Write the pictures and the records of one stage."""
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes) as pool:
        numbers = (repeat(out), repeat(sprites), repeat(seed), repeat(stage), range(scenes))
        records = list(pool.map(draw_record, *numbers, chunksize=64))
    write_json(out / f"stage{stage}.json", records)
    print(f"stage {stage}: {len(records)} records in {out / f'stage{stage}.json'}")


def write_manifest(out: Path, seed: int, scenes: dict[str, int]) -> None:
    """Write which names, styles and pairs the scenes were and were not drawn from."""
    manifest = {
        "seed": seed,
        "scenes": scenes,
        "proportions": PROPORTIONS,
        "names": sorted(load_names()),
        "training_styles": TRAINING_STYLES,
        "held_out_styles": FLUENT_STYLES,
        "held_out_pairs": held_out_pairs(),
    }
    write_json(out / "manifest.json", manifest)


def write_json(path: Path, content: object) -> None:
    """Write JSON under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(path)


def main() -> None:
    """Read the command line and write both stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, required=True, help="of stage 2")
    parser.add_argument("--brief-scenes", type=int, default=0, help="of stage 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sprites", type=Path, default=DEFAULT_SPRITES)
    options = parser.parse_args()
    counts = {1: options.brief_scenes, 2: options.scenes}
    for stage, scenes in counts.items():
        if scenes:
            make_stage(
                options.out, sprites=options.sprites, seed=options.seed, stage=stage, scenes=scenes
            )
    write_manifest(options.out, options.seed, {f"stage{s}": n for s, n in counts.items()})


if __name__ == "__main__":
    main()
