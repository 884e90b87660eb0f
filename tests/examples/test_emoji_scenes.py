"""Scenes are seeded, their boxes exact, and what is held out stays out."""

import re
from itertools import combinations

import numpy as np
import pytest
from colours import COLOURS, main_colour
from emoji_sprites import few_sprites, some_scene
from names import FLUENT_STYLES, TRAINING_STYLES, load_names
from paint import PLAIN
from scenes import (
    HELD_OUT_STYLE,
    SEEN_STYLES,
    SIDE,
    TRAINING,
    SceneRules,
    choose_names,
    held_out_pairs,
    is_held_out,
)


def test_same_seed_same_scene() -> None:
    """A scene and its picture depend on the seed alone."""
    (first, picture), (second, again) = some_scene(3), some_scene(3)
    assert first == second
    assert picture.tobytes() == again.tobytes()
    assert some_scene(4)[0] != first


def test_side_is_a_parameter() -> None:
    """A picture has the side that the rules give."""
    rules = SceneRules(TRAINING_STYLES, allow_held_out=False, vary=True, side=200)
    assert some_scene(0, rules)[1].size == (200, 200)


def test_boxes_lie_inside_and_apart() -> None:
    """Boxes are ordered corners within 0..1, and no two overlap."""
    for seed in range(30):
        scene, _ = some_scene(seed)
        assert 1 <= len(scene.objects) <= 4
        for one in scene.objects:
            left, top, right, bottom = one.box
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        for a, b in combinations((one.box for one in scene.objects), 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_boxes_are_exact() -> None:
    """On a plain background all that differs from it lies in the boxes, and reaches their edges."""
    checked = 0
    for seed in range(30):
        scene, picture = some_scene(seed, SEEN_STYLES)
        if not re.fullmatch(r"an? \w+ background", scene.background):
            continue  # a gradient or a texture
        pixels = np.asarray(picture).astype(int)
        boxes = [np.round(np.array(one.box) * SIDE).astype(int) for one in scene.objects]
        outside = np.ones((SIDE, SIDE), bool)
        for left, top, right, bottom in boxes:
            outside[top:bottom, left:right] = False
        backdrop = pixels[outside]
        assert (backdrop == backdrop[0]).all()
        for left, top, right, bottom in boxes:
            differs = (pixels[top:bottom, left:right] != backdrop[0]).any(axis=2)
            for edge in (differs[0], differs[-1], differs[:, 0], differs[:, -1]):
                assert edge.any()
        checked += 1
    assert checked > 3


def test_held_out_pairs_never_meet_in_training() -> None:
    """Training scenes hold no held-out pair of names; evaluation scenes may."""
    names = list(load_names())

    def held_out(rules: SceneRules) -> int:
        chosen = [choose_names(np.random.default_rng(seed), names, rules) for seed in range(300)]
        return sum(is_held_out(*pair) for scene in chosen for pair in combinations(scene, 2))

    assert held_out(TRAINING) == 0
    assert held_out(SEEN_STYLES) > 0


def test_held_out_share() -> None:
    """About 15% of the unordered pairs are held out, whichever name comes first."""
    total = len(load_names()) * (len(load_names()) - 1) / 2
    assert 0.13 < len(held_out_pairs()) / total < 0.17
    assert is_held_out("dog", "key") == is_held_out("key", "dog")


def test_styles_follow_the_rules() -> None:
    """Training draws no Fluent object; the held-out style draws nothing else."""
    for seed in range(20):
        assert {one.style for one in some_scene(seed)[0].objects} <= set(TRAINING_STYLES)
        fluent = some_scene(seed, HELD_OUT_STYLE)[0]
        assert {one.style for one in fluent.objects} <= set(FLUENT_STYLES)


def test_only_countable_objects_repeat() -> None:
    """`two breads` and `three cherries` are never drawn."""
    for seed in range(40):
        names = [one.name for one in some_scene(seed)[0].objects]
        assert all(load_names()[n].noun == "count" for n in names if names.count(n) > 1)


@pytest.mark.parametrize("colour", PLAIN)
def test_background_colours_measure_as_named(colour: str) -> None:
    """The words of the plain backgrounds agree with the words that colours are measured by."""
    assert main_colour(np.array([PLAIN[colour]] * 10, dtype=np.uint8)) == colour


def test_a_mixture_has_no_main_colour() -> None:
    """A third each of red, green and blue is no colour."""
    mixture = np.array([(220, 20, 20), (20, 200, 20), (20, 20, 220)] * 5, dtype=np.uint8)
    assert main_colour(mixture) is None


def test_names_can_be_learned_and_tested() -> None:
    """Every name has four training drawings and all Fluent ones, and is not a colour word."""
    names = load_names()
    assert len(names) >= 155
    assert not set(names) & set(COLOURS)
    for name in names.values():
        assert sum(style in name.icons for style in TRAINING_STYLES) >= 4
        assert all(style in name.icons for style in FLUENT_STYLES)
        assert bool(name.plural) == (name.noun == "count")


def test_sprites_are_cropped() -> None:
    """A sprite has no transparent border."""
    sprite = few_sprites().sprite("noto", "dog")
    assert sprite.getchannel("A").getbbox() == (0, 0, *sprite.size)
