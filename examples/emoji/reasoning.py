"""Reasoning questions whose answers follow from what the objects are, with a because-sentence."""

from collections.abc import Callable

from context import Group, SceneTurn, groups, listing, pick
from knowledge import HOMES, OCCASIONS, USES
from names import joined
from numpy.random import Generator
from scenes import Scene

_EDIBLE = {"food", "drink", "fungus"}
_ALIVE = {"animal": "animals", "plant": "plants", "fungus": "mushrooms"}
_KIND_WORDS = {
    "animal": "animals",
    "food": "food",
    "vehicle": "vehicles",
    "clothing": "clothes",
    "plant": "plants",
    "device": "electronic devices",
    "sport": "sports things",
    "household": "things for the home",
    "instrument": "musical instruments",
}


def write_reasoning(rng: Generator, scene: Scene) -> list[SceneTurn]:
    """One question; its answer first says what is seen, then what follows from it."""
    turn = reason(rng, groups(scene))
    return [SceneTurn(turn.question, f"I see {listing(scene)}. {turn.answer}")]


def reason(rng: Generator, present: list[Group]) -> SceneTurn:
    """A question and its answer; the more telling kinds are tried first, in a random order."""
    for index in rng.permutation(len(_SPECIAL)):
        turn = _SPECIAL[int(index)](rng, present)
        if turn is not None and rng.random() < 0.8:
            return turn
    return pick(rng, _GENERAL)(rng, present)


def ask_edible(rng: Generator, present: list[Group]) -> SceneTurn:
    """What can be eaten or drunk?"""
    question = pick(rng, (
        "What in the picture could you eat or drink?",
        "Is there anything to eat or drink here?",
        "I am hungry. What here would help?",
        "Which of these things can be eaten or drunk?",
        "What here belongs on a table at lunch?",
    ))  # fmt: skip
    chosen = [group for group in present if group.name.kind in _EDIBLE]
    if not chosen:
        return SceneTurn(question, f"Nothing, because {subject(present)} not food.")
    return SceneTurn(question, f"{the(chosen)}, because {they(chosen)} food or drink.")


def ask_alive(rng: Generator, present: list[Group]) -> SceneTurn:
    """What is alive?"""
    question = pick(rng, (
        "Which of these things are alive?",
        "Is anything in the picture alive?",
        "What here grows and breathes?",
        "Which of the things is a living being?",
        "What here would need water to stay alive?",
    ))  # fmt: skip
    chosen = [group for group in present if group.name.kind in _ALIVE]
    if not chosen:
        return SceneTurn(question, f"Nothing, because {subject(present)} not alive.")
    what = joined(sorted({_ALIVE[group.name.kind] for group in chosen}))
    return SceneTurn(question, f"{the(chosen)}, because {what} are living beings.")


def ask_odd(rng: Generator, present: list[Group]) -> SceneTurn | None:
    """Which object differs in kind from all others, where these are alike?"""
    for odd in present:
        kinds = {group.name.kind for group in present if group is not odd}
        rest = [group for group in present if group is not odd]
        kind = next(iter(kinds), "")
        if len(rest) >= 2 and len(kinds) == 1 and kind in _KIND_WORDS and odd.name.kind != kind:
            question = pick(rng, (
                "Which object is the odd one out?",
                "One of these does not belong with the others. Which?",
                "What does not fit in with the rest?",
                "Which thing differs in kind from the others?",
                "What here is unlike the others?",
            ))  # fmt: skip
            others = joined([f"the {group.plain}" for group in rest])
            return SceneTurn(question, f"{the([odd])}, because {others} are {_KIND_WORDS[kind]}.")
    return None


def ask_vehicle(rng: Generator, present: list[Group]) -> SceneTurn | None:
    """What could carry people?"""
    chosen = [group for group in present if group.name.kind == "vehicle"]
    if not chosen:
        return None
    question = pick(rng, (
        "What here could carry people?",
        "How could someone travel with what is shown?",
        "What in the picture could take you somewhere?",
        "Which of these could you ride in or on?",
        "I have to go on a journey. What here would help?",
    ))  # fmt: skip
    what = "vehicles that carry" if plural(chosen) else "a vehicle that carries"
    return SceneTurn(question, f"{the(chosen)}, because {they(chosen)} {what} people.")


def ask_use(rng: Generator, present: list[Group]) -> SceneTurn | None:
    """What would serve some purpose?"""
    useful = [group for group in present if group.name.name in USES]
    if not useful:
        return None
    group = pick(rng, useful)
    purpose, reason = USES[group.name.name]
    question = pick(rng, (
        f"What in the picture would help to {purpose}?",
        f"What here would you use to {purpose}?",
        f"Which thing is good if you want to {purpose}?",
        f"I want to {purpose}. What should I take?",
        f"What could someone use to {purpose}?",
    ))  # fmt: skip
    return SceneTurn(question, f"{the([group])}, because {they([group], verb=False)} {reason}.")


def ask_occasion(rng: Generator, present: list[Group]) -> SceneTurn | None:
    """What might someone be getting ready for?"""
    names = {group.name.name for group in present}
    fitting = [occasion for occasion in OCCASIONS if names & OCCASIONS[occasion]]
    if not fitting:
        return None
    best = max(fitting, key=lambda occasion: len(names & OCCASIONS[occasion]))
    clues = [group for group in present if group.name.name in OCCASIONS[best]]
    question = pick(rng, (
        "What might someone be getting ready for?",
        "Which occasion do these things suggest?",
        "What could this be about to be used for?",
        "What might be going on here?",
        "What might the owner of these things be planning?",
    ))  # fmt: skip
    verb = "are" if plural(clues[:1]) else "is"
    seen = joined([group.indefinite for group in clues])
    return SceneTurn(question, f"Perhaps {best}, because there {verb} {seen}.")


def ask_home(rng: Generator, present: list[Group]) -> SceneTurn | None:
    """Where does the only animal live?"""
    animals = [group for group in present if group.name.kind == "animal"]
    if len(animals) != 1 or animals[0].name.name not in HOMES:
        return None
    question = pick(rng, (
        "Where would the animal in the picture live?",
        "Where might one meet such an animal?",
        "What kind of place is home to the animal shown?",
        "Where does an animal like this live?",
        "In which place would you look for this animal?",
    ))  # fmt: skip
    home, reason = HOMES[animals[0].name.name]
    name = animals[0].name.indefinite()
    return SceneTurn(question, f"{home}, because {name} is {reason}.")


def the(chosen: list[Group]) -> str:
    """`The dog and the keys`."""
    words = joined([f"the {group.plain}" for group in chosen])
    return words[0].upper() + words[1:]


def plural(chosen: list[Group]) -> bool:
    """Whether a verb after these is plural."""
    return len(chosen) > 1 or chosen[0].verb == "are"


def they(chosen: list[Group], verb: bool = True) -> str:
    """`it is` or `they are`, or only the pronoun."""
    pronoun, to_be = ("they", "are") if plural(chosen) else ("it", "is")
    return f"{pronoun} {to_be}" if verb else pronoun


def subject(present: list[Group]) -> str:
    """`the dog and the key are`."""
    words = the(present)
    return f"{words[0].lower()}{words[1:]} {'are' if plural(present) else 'is'}"


_SPECIAL: tuple[Callable[[Generator, list[Group]], SceneTurn | None], ...] = (
    ask_odd,
    ask_vehicle,
    ask_use,
    ask_occasion,
    ask_home,
)
_GENERAL: tuple[Callable[[Generator, list[Group]], SceneTurn], ...] = (ask_edible, ask_alive)
