"""What is said of a scene is true, names what it should, and keeps its form."""

import re
from collections import Counter

import numpy as np
import pytest
from context import groups, listing, symbolic_context
from conversation import ask_yes_no, write_conversation
from emoji_sprites import some_scene
from make_records import make_record
from metrics import named_objects, says_yes
from names import joined, load_names, with_article
from reasoning import write_reasoning
from scenes import Scene, SceneObject
from words import DETAIL_WORDS, write_brief, write_detail, write_instruction

SEEDS = range(25)


def names_of(scene: Scene) -> set[str]:
    return {one.name for one in scene.objects}


def two_mice_and_an_owl() -> Scene:
    mouse = SceneObject("mouse", "noto", "small", "grey", (0.0, 0.0, 0.2, 0.25))
    owl = SceneObject("owl", "noto", "large", "brown", (0.3, 0.4, 0.8, 0.9))
    other = SceneObject("mouse", "noto", "small", None, (0.8, 0.0, 1.0, 0.25))
    return Scene("a blue background", (mouse, owl, other))


def test_grammar() -> None:
    """Articles, plurals, and nouns that take no article."""
    assert listing(two_mice_and_an_owl()) == "two mice and an owl"
    assert with_article("unicorn") == "a unicorn"
    assert load_names()["cherries"].indefinite() == "cherries"
    assert load_names()["bread"].described("small brown") == "small brown bread"
    assert load_names()["owl"].described("") == "an owl"
    assert joined(["a", "b", "c"]) == "a, b and c"


def test_symbolic_context() -> None:
    """Captions, a blank line, boxes: the two kinds of the paper."""
    captions, boxes = symbolic_context(two_mice_and_an_owl()).split("\n\n")
    for line in captions.splitlines():
        assert named_objects(line) == {"mouse", "owl"}
        assert line.endswith("on a blue background.")
    assert boxes.splitlines()[1] == "owl: [0.300, 0.400, 0.800, 0.900]"
    assert [line.split(":")[0] for line in boxes.splitlines()] == ["mouse", "owl", "mouse"]


@pytest.mark.parametrize("seed", SEEDS)
def test_captions_name_exactly_what_is_there(seed: int) -> None:
    """Brief and detailed descriptions name all objects and no others."""
    scene, _ = some_scene(seed)
    rng = np.random.default_rng(seed)
    (brief,), (detail,) = write_brief(rng, scene), write_detail(rng, scene)
    assert named_objects(brief.answer) == names_of(scene)
    assert named_objects(detail.answer) == names_of(scene)
    assert len(detail.answer.split()) <= DETAIL_WORDS


@pytest.mark.parametrize("seed", SEEDS)
def test_conversations_are_true(seed: int) -> None:
    """Two to four turns; yes and no are true, counts are right, and no name is made up."""
    scene, _ = some_scene(seed)
    turns = write_conversation(np.random.default_rng(seed), scene)
    assert 2 <= len(turns) <= 4
    counts = Counter(one.name for one in scene.objects)
    for turn in turns:
        if turn.answer.startswith(("Yes", "No,")):
            (asked,) = named_objects(turn.question)
            assert says_yes(turn.answer) == (asked in counts)
        else:
            assert named_objects(turn.answer) <= names_of(scene)
        if match := re.fullmatch(r"(One|Two|Three|Four) objects?\.", turn.answer):
            assert ["One", "Two", "Three", "Four"].index(match[1]) + 1 == len(scene.objects)


def test_yes_and_no_are_balanced() -> None:
    """About half of the yes/no questions have the answer yes."""
    scene = two_mice_and_an_owl()
    answers = [ask_yes_no(np.random.default_rng(seed), scene).answer for seed in range(400)]
    assert 160 < sum(map(says_yes, answers)) < 240


@pytest.mark.parametrize("seed", SEEDS)
def test_reasoning_gives_its_reason(seed: int) -> None:
    """Under 50 words, names what is seen, and says why; the question does not leak the objects."""
    scene, _ = some_scene(seed)
    (turn,) = write_reasoning(np.random.default_rng(seed), scene)
    seen, _, conclusion = turn.answer.partition(". ")
    assert named_objects(seen) == names_of(scene)
    assert ", because " in conclusion
    assert len(turn.answer.split()) < 50


def test_kinds_come_in_the_papers_proportions() -> None:
    """58 : 23 : 77."""
    scene = two_mice_and_an_owl()
    kinds = Counter(write_instruction(np.random.default_rng(s), scene)[0] for s in range(1580))
    assert abs(kinds["conversation"] - 580) < 70
    assert abs(kinds["detail"] - 230) < 60
    assert abs(kinds["reasoning"] - 770) < 70


def test_record_is_llavas() -> None:
    """Roles alternate, the picture stands once and first, and the boxes come along."""
    scene = two_mice_and_an_owl()
    turns = write_conversation(np.random.default_rng(1), scene)
    record = make_record("stage2-0-000001", scene, turns)
    messages = record["conversations"]
    assert [message["from"] for message in messages] == ["human", "gpt"] * len(turns)
    assert messages[0]["value"].startswith("<image>\n")
    assert sum(message["value"].count("<image>") for message in messages) == 1
    assert record["objects"][1] == {"name": "owl", "box": [0.3, 0.4, 0.8, 0.9]}


def test_groups_keep_the_order_from_left_to_right() -> None:
    """Objects of one name are one group, where its leftmost stands."""
    assert [(g.plain, g.count) for g in groups(two_mice_and_an_owl())] == [("mice", 2), ("owl", 1)]
