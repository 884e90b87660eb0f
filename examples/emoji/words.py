"""The three kinds of stage 2 samples and the pairs of stage 1, written from what is known alone."""

from collections.abc import Callable

from context import SceneTurn, caption, pick, place, sentence
from conversation import write_conversation
from names import load_names
from numpy.random import Generator
from reasoning import write_reasoning
from scenes import Scene, SceneObject

BRIEF_QUESTIONS = (
    "Describe the picture briefly.",
    "What does this picture show, in one sentence?",
    "Give a short description of the image.",
    "Sum up the picture in a few words.",
    "Write a short caption for this image.",
    "Say briefly what can be seen here.",
    "Tell me in a sentence what is in the image.",
    "Caption this picture.",
    "What is shown here? Keep it short.",
    "State the contents of the picture in one sentence.",
    "Provide a one-line description of this picture.",
)

DETAIL_QUESTIONS = (
    "Describe the picture in detail.",
    "Describe everything you see, with colours and places.",
    "Give a detailed description of this image.",
    "What exactly does the picture show? Leave nothing out.",
    "Describe each object in the picture and where it is.",
    "Take me through the picture in detail.",
    "Write a full description of this picture.",
)

DETAIL_WORDS = 60  # a description may not have more


def write_brief(rng: Generator, scene: Scene) -> list[SceneTurn]:
    """Stage 1: a brief instruction and a caption that names all objects."""
    return [SceneTurn(pick(rng, BRIEF_QUESTIONS), caption(rng, scene))]


def write_detail(rng: Generator, scene: Scene) -> list[SceneTurn]:
    """The caption, then every object with its colour, size and place."""
    lines = [describe(one) for one in scene.objects]
    answer = " ".join([caption(rng, scene), *lines])
    return [SceneTurn(pick(rng, DETAIL_QUESTIONS), answer)]


def describe(one: SceneObject) -> str:
    """`A large brown dog is at the top left.`"""
    name = load_names()[one.name]
    words = f"{one.size} {one.colour}" if one.colour else one.size
    return sentence(f"{name.described(words)} {name.verb} {place(one)}")


Writer = Callable[[Generator, Scene], list[SceneTurn]]

WRITERS: dict[str, Writer] = {
    "conversation": write_conversation,
    "detail": write_detail,
    "reasoning": write_reasoning,
}
PROPORTIONS = {"conversation": 58, "detail": 23, "reasoning": 77}  # thousands, in the paper


def write_instruction(rng: Generator, scene: Scene) -> tuple[str, list[SceneTurn]]:
    """Stage 2: one kind, drawn in the paper's proportions; returns the kind and its turns."""
    total = sum(PROPORTIONS.values())
    kind = str(rng.choice(list(WRITERS), p=[PROPORTIONS[kind] / total for kind in WRITERS]))
    return kind, WRITERS[kind](rng, scene)
