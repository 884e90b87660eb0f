"""Conversations of two to four turns, written from a scene's symbolic context alone."""

from collections.abc import Callable
from itertools import permutations

from context import Group, SceneTurn, area, centre, groups, listing, pick, place, sentence
from names import NUMBERS, Name, load_names
from numpy.random import Generator
from scenes import Scene, SceneObject

OBJECTS_QUESTIONS = (
    "What objects are in the picture?",
    "What is in the picture?",
    "Which objects can you see?",
    "What do you see in this picture?",
    "Name the objects in the picture.",
    "List everything that is shown.",
)


def write_conversation(rng: Generator, scene: Scene) -> list[SceneTurn]:
    """Two to four turns, most of them opened by the question which objects there are."""
    askers = [ask_yes_no, *(_OTHERS[i] for i in rng.permutation(len(_OTHERS)))]
    if rng.random() < 0.3:
        askers.append(askers.pop(0))
    wanted = int(rng.integers(2, 5))
    turns = [ask_objects(rng, scene)] if rng.random() < 0.75 else []
    for asker in askers:
        turn = asker(rng, scene)
        if turn is not None and len(turns) < wanted:
            turns.append(turn)
    if rng.random() < 0.15:
        turns.reverse()
    return turns


def ask_objects(rng: Generator, scene: Scene) -> SceneTurn:
    """Which objects are there?"""
    return SceneTurn(pick(rng, OBJECTS_QUESTIONS), sentence(listing(scene)))


def ask_yes_no(rng: Generator, scene: Scene) -> SceneTurn:
    """Is this object there? Half of the questions ask for an absent one."""
    if rng.random() < 0.5:
        group = pick(rng, groups(scene))
        answer = f"Yes, there {group.verb} {group.indefinite}."
        return SceneTurn(yes_no_question(rng, group.name), answer)
    name = absent_name(rng, scene)
    return SceneTurn(yes_no_question(rng, name), f"No, there {name.verb} no {name.name}.")


def yes_no_question(rng: Generator, name: Name) -> str:
    """Ask whether an object is there."""
    phrase = name.indefinite()
    options = (
        f"{name.verb.capitalize()} there {phrase} in the picture?",
        f"{name.verb.capitalize()} there {phrase} in this image?",
        f"Can you see {phrase}?",
        f"Do you see {phrase} in the picture?",
        f"Does the picture show {phrase}?",
    )
    return options[0] if rng.random() < 0.4 else pick(rng, options)


def absent_name(rng: Generator, scene: Scene) -> Name:
    """An object that is not there: at random, or (half of the time) of a kind that is."""
    present = {one.name for one in scene.objects}
    names = [name for name in load_names().values() if name.name not in present]
    kinds = {load_names()[name].kind for name in present}
    alike = [name for name in names if name.kind in kinds]
    candidates = alike if alike and rng.random() < 0.5 else names
    return pick(rng, candidates)


def ask_count(rng: Generator, scene: Scene) -> SceneTurn | None:
    """How many of one object? Prefers objects that are there more than once."""
    countable = [group for group in groups(scene) if group.name.noun == "count"]
    if not countable:
        return None
    several = [group for group in countable if group.count > 1]
    group = pick(rng, several or countable)
    plural = group.name.plural
    options = (
        f"How many {plural} are there?",
        f"How many {plural} are in the picture?",
        f"How many {plural} can you see?",
        f"Count the {plural}.",
        f"What is the number of {plural}?",
    )
    return SceneTurn(pick(rng, options), sentence(f"{NUMBERS[group.count]} {group.plain}"))


def ask_total(rng: Generator, scene: Scene) -> SceneTurn:
    """How many objects altogether?"""
    options = (
        "How many objects are there?",
        "How many objects are in the picture?",
        "How many things can you see?",
        "Count the objects.",
        "What is the number of objects?",
    )
    total = len(scene.objects)
    return SceneTurn(pick(rng, options), sentence(f"{NUMBERS[total]} object{'s' * (total > 1)}"))


def ask_colour(rng: Generator, scene: Scene) -> SceneTurn | None:
    """What colour, of an object that is there once and has one main colour?"""
    group = random_single(rng, scene, coloured=True)
    if group is None:
        return None
    name, verb = group.name.name, group.name.verb
    word = pick(rng, ("colour", "colour", "color"))
    options = (
        f"What {word} {verb} the {name}?",
        f"Which {word} {verb} the {name}?",
        f"What is the {word} of the {name}?",
        f"Tell me the {word} of the {name}.",
        f"What {word} do you see on the {name}?",
    )
    return SceneTurn(pick(rng, options), f"The {name} {verb} {group.objects[0].colour}.")


def ask_place(rng: Generator, scene: Scene) -> SceneTurn | None:
    """Where is an object that is there once?"""
    group = random_single(rng, scene)
    if group is None:
        return None
    name, verb = group.name.name, group.name.verb
    options = (
        f"Where {verb} the {name}?",
        f"Where in the picture {verb} the {name}?",
        f"Where can I find the {name}?",
        f"In which part of the picture {verb} the {name}?",
        f"Where do you see the {name}?",
    )
    return SceneTurn(pick(rng, options), f"The {name} {verb} {place(group.objects[0])}.")


def ask_relation(rng: Generator, scene: Scene) -> SceneTurn | None:
    """Left or right, above or below, where the difference is plain?"""
    pair = random_pair(rng, scene, far_apart)
    if pair is None:
        return None
    first, second = pair
    (x1, y1), (x2, y2) = centre(first.objects[0]), centre(second.objects[0])
    sideways = abs(x1 - x2) > abs(y1 - y2)
    words = ("to the left of", "to the right of") if sideways else ("above", "below")
    true = words[int(x1 > x2 if sideways else y1 > y2)]
    one, other, verb = first.name.name, second.name.name, first.name.verb
    either = "to the left or to the right of" if sideways else "above or below"
    options = (
        f"{verb.capitalize()} the {one} {either} the {other}?",
        f"Where {verb} the {one}, seen from the {other}?",
        f"Where {verb} the {one} relative to the {other}?",
        f"How {verb} the {one} placed relative to the {other}?",
        f"Which side of the {other} {verb} the {one} on?" if sideways else
        f"{verb.capitalize()} the {one} higher or lower than the {other}?",
    )  # fmt: skip
    return SceneTurn(pick(rng, options), f"The {one} {verb} {true} the {other}.")


def ask_larger(rng: Generator, scene: Scene) -> SceneTurn | None:
    """Which of two is larger, where the difference is plain?"""
    pair = random_pair(rng, scene, plainly_unequal)
    if pair is None:
        return None
    first, second = pair
    larger = max(pair, key=lambda group: area(group.objects[0])).name
    one, other = first.name.name, second.name.name
    options = (
        f"Which is larger, the {one} or the {other}?",
        f"Which looks bigger, the {one} or the {other}?",
        f"What is bigger in the picture, the {one} or the {other}?",
        f"Which one is larger: the {one} or the {other}?",
        f"Compare the sizes of the {one} and the {other}.",
    )
    return SceneTurn(pick(rng, options), f"The {larger.name} {larger.verb} larger.")


def ask_background(rng: Generator, scene: Scene) -> SceneTurn:
    """What is behind the objects?"""
    options = (
        "What is the background?",
        "What is in the background?",
        "What does the background look like?",
        "Describe the background.",
        "What is behind the objects?",
    )
    return SceneTurn(pick(rng, options), sentence(scene.background))


def random_single(rng: Generator, scene: Scene, coloured: bool = False) -> Group | None:
    """An object that is there once (and has a main colour), if there is one."""
    single = [group for group in groups(scene) if group.count == 1]
    if coloured:
        single = [group for group in single if group.objects[0].colour is not None]
    return pick(rng, single) if single else None


def random_pair(
    rng: Generator, scene: Scene, suits: Callable[[SceneObject, SceneObject], bool]
) -> tuple[Group, Group] | None:
    """Two objects that are there once each and suit, if there are such."""
    single = [group for group in groups(scene) if group.count == 1]
    pairs = [(a, b) for a, b in permutations(single, 2) if suits(a.objects[0], b.objects[0])]
    return pick(rng, pairs) if pairs else None


def far_apart(first: SceneObject, second: SceneObject) -> bool:
    """Whether one direction between two objects clearly dominates."""
    (x1, y1), (x2, y2) = centre(first), centre(second)
    across, down = abs(x1 - x2), abs(y1 - y2)
    return max(across, down) > max(0.2, 1.5 * min(across, down))


def plainly_unequal(first: SceneObject, second: SceneObject) -> bool:
    """Whether one object covers far more of the picture than the other."""
    return max(area(first), area(second)) > 1.8 * min(area(first), area(second))


_OTHERS: tuple[Callable[[Generator, Scene], SceneTurn | None], ...] = (
    ask_count,
    ask_total,
    ask_colour,
    ask_place,
    ask_relation,
    ask_larger,
    ask_background,
)
