"""Evaluation questions about seeded scenes that no training run draws."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from context import Group, groups, pick, place
from names import NUMBERS, Name, load_names
from numpy.random import Generator
from PIL import Image
from scenes import HELD_OUT_STYLE, SEEN_STYLES, Scene, SceneRules, draw_scene
from sprites import SpriteSheet

FAMILIES: dict[str, SceneRules] = {
    "training styles": SEEN_STYLES,
    "held-out Fluent": HELD_OUT_STYLE,
}
_FIRST_STREAM = 11  # training draws from the streams 1 and 2 of a seed
_POPULAR = 20  # absent objects of the `popular` half are among so many most frequent ones

Kind = Literal["objects", "present", "absent", "count", "colour", "place"]


@dataclass(frozen=True)
class SceneQuestion:
    """A question with its true answer: a phrase, or nothing where the kind says it all."""

    kind: Kind
    text: str
    truth: str = ""


@dataclass(frozen=True)
class Case:
    """A scene, its picture and its questions."""

    scene: Scene
    picture: Image.Image
    questions: tuple[SceneQuestion, ...]

    @property
    def names(self) -> set[str]:
        """The objects in the picture."""
        return {one.name for one in self.scene.objects}


def draw_cases(sheet: SpriteSheet, family: str, scenes: int, seed: int = 0) -> list[Case]:
    """Scenes of one family with their questions; the same for the same seed."""
    stream = _FIRST_STREAM + list(FAMILIES).index(family)
    drawn = []
    for index in range(scenes):
        rng = np.random.default_rng([seed, stream, index])
        drawn.append((rng, *draw_scene(rng, sheet, FAMILIES[family])))
    frequency = Counter(name for _, scene, _ in drawn for name in {o.name for o in scene.objects})
    popular = [name for name, _ in frequency.most_common(_POPULAR)]
    return [
        Case(scene, picture, ask_all(rng, scene, popular if index % 2 else []))
        for index, (rng, scene, picture) in enumerate(drawn)
    ]


def ask_all(rng: Generator, scene: Scene, popular: list[str]) -> tuple[SceneQuestion, ...]:
    """All questions about one scene; the absent object is a popular one where any are given."""
    present = groups(scene)
    one = pick(rng, present)
    return (
        SceneQuestion("objects", "What objects are in the picture?"),
        SceneQuestion("present", is_there(one.name)),
        SceneQuestion("absent", is_there(absent(rng, scene, popular))),
        *ask_extras(rng, present),
    )


def is_there(name: Name) -> str:
    """POPE's question."""
    return f"{name.verb.capitalize()} there {name.indefinite()} in the picture?"


def absent(rng: Generator, scene: Scene, popular: list[str]) -> Name:
    """An object that is not in the scene, drawn evenly or among the popular ones."""
    there = {one.name for one in scene.objects}
    candidates = [name for name in popular or load_names() if name not in there]
    return load_names()[pick(rng, candidates)]


def ask_extras(rng: Generator, present: list[Group]) -> list[SceneQuestion]:
    """Count, colour and place, each of an object for which the answer is definite."""
    questions = []
    countable = [group for group in present if group.name.noun == "count"]
    if countable:
        group = max(countable, key=lambda group: group.count)
        text = f"How many {group.name.plural} are there?"
        questions.append(SceneQuestion("count", text, NUMBERS[group.count]))
    single = [group for group in present if group.count == 1]
    coloured = [group for group in single if group.objects[0].colour]
    if coloured:
        group = pick(rng, coloured)
        text = f"What colour {group.verb} the {group.name.name}?"
        questions.append(SceneQuestion("colour", text, group.objects[0].colour or ""))
    if single:
        group = pick(rng, single)
        text = f"Where {group.verb} the {group.name.name}?"
        questions.append(SceneQuestion("place", text, place(group.objects[0])))
    return questions
