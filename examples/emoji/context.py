"""What a language-only writer is told of a scene: captions and boxes, as in the LLaVA paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from names import Name, joined, load_names
from numpy.random import Generator
from scenes import Scene, SceneObject

T = TypeVar("T")


@dataclass(frozen=True)
class SceneTurn:
    """One question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Group:
    """All objects of one name in a scene."""

    name: Name
    objects: tuple[SceneObject, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.objects)

    @property
    def verb(self) -> str:
        """The verb that goes with them."""
        return "are" if self.count > 1 else self.name.verb

    @property
    def plain(self) -> str:
        """`dog`, or `dogs` where there are several."""
        return self.name.plural if self.count > 1 else self.name.name

    @property
    def indefinite(self) -> str:
        """`a dog`, `two dogs`."""
        return self.name.indefinite(self.count)


def groups(scene: Scene) -> list[Group]:
    """The scene's objects by name, in the order of their leftmost ones."""
    names = dict.fromkeys(one.name for one in scene.objects)
    return [
        Group(load_names()[name], tuple(one for one in scene.objects if one.name == name))
        for name in names
    ]


def listing(scene: Scene) -> str:
    """`a dog, a pizza and two keys`, from left to right."""
    return joined([group.indefinite for group in groups(scene)])


def sentence(words: str) -> str:
    """Begin with a capital and end with a full stop."""
    return f"{words[0].upper()}{words[1:]}."


def pick(rng: Generator, options: Sequence[T]) -> T:
    """One of several, evenly."""
    return options[int(rng.integers(len(options)))]


_CAPTIONS = (
    "{listing} on {background}",
    "a picture of {listing} on {background}",
    "a picture with {listing} on {background}",
    "{listing} can be seen on {background}",
    "the picture shows {listing} on {background}",
)


def caption(rng: Generator, scene: Scene) -> str:
    """One sentence that names every object and the background."""
    template = pick(rng, _CAPTIONS)
    return sentence(template.format(listing=listing(scene), background=scene.background))


def symbolic_context(scene: Scene) -> str:
    """Caption lines, a blank line, then `name: [x1, y1, x2, y2]` lines with 0..1 coordinates."""
    fields = {"listing": listing(scene), "background": scene.background}
    captions = [sentence(template.format(**fields)) for template in _CAPTIONS]
    boxes = [f"{one.name}: [{', '.join(f'{x:.3f}' for x in one.box)}]" for one in scene.objects]
    return "\n".join([*captions, "", *boxes])


PLACES = {
    (0, 0): "at the top left",
    (1, 0): "at the top",
    (2, 0): "at the top right",
    (0, 1): "on the left",
    (1, 1): "in the centre",
    (2, 1): "on the right",
    (0, 2): "at the bottom left",
    (1, 2): "at the bottom",
    (2, 2): "at the bottom right",
}


def centre(one: SceneObject) -> tuple[float, float]:
    """The middle of an object's box."""
    left, top, right, bottom = one.box
    return (left + right) / 2, (top + bottom) / 2


def place(one: SceneObject) -> str:
    """Which ninth of the picture holds the middle of an object, in words."""
    x, y = centre(one)
    return PLACES[min(int(x * 3), 2), min(int(y * 3), 2)]


def area(one: SceneObject) -> float:
    """The share of the picture that an object's box covers."""
    left, top, right, bottom = one.box
    return (right - left) * (bottom - top)
