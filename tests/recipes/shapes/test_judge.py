"""The shapes judge on pictures whose truth is known because they were drawn."""

import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from recipes.shapes.judge import is_success, read, score
from recipes.shapes.world import SHAPES, SIZE, Thing, draw, parse, random_offsets, random_scene, say_randomly

WISH = "a red circle at the left"


def scored(after: str, before: str | None = None, instruction: str = WISH):
    return score(draw(parse(before)) if before else None, draw(parse(after)), instruction)


@pytest.mark.parametrize("seed", range(50))
def test_what_is_drawn_as_wished_is_a_success(seed):
    rng = random.Random(seed)
    scene, wishes = random_scene(rng, rng.randint(0, 2)), random_scene(rng, rng.randint(1, 2))
    offsets = random_offsets(rng)
    before = draw(scene, offsets) if scene else None
    scores = score(before, draw({**scene, **wishes}, random_offsets(rng)), say_randomly(wishes, rng))
    assert (scores.semantics, scores.reason) == (10.0, "all as wished")
    assert scores.quality > 9.5
    assert is_success(scores)


@pytest.mark.parametrize(
    ("after", "semantics"),
    [
        ("a blue circle at the left", 6.67),
        ("a red square at the left", 6.67),
        ("a blue square at the left", 3.33),
        ("a red circle at the right", 0.0),
        ("a red circle at the left and a red circle at the top", 6.67),
    ],
)
def test_each_attribute_earns_by_itself(after, semantics):
    scores = scored(after)
    assert scores.semantics == semantics
    assert not is_success(scores)


def test_two_wishes_share_the_points():
    wish = "a red circle at the left and a blue square at the top"
    assert scored("a red circle at the left", instruction=wish).semantics == 5.0
    assert scored("a red circle at the left and a blue dot at the top", instruction=wish).semantics == 8.33


def test_an_edit_must_keep_what_it_was_not_told_to_change():
    before = "a green square at the top"
    assert is_success(scored("a red circle at the left and a green square at the top", before))
    lost = scored("a red circle at the left", before)
    assert lost.semantics == 6.67
    assert "top: was green square, is nothing" in lost.reason
    recoloured = scored("a red circle at the left and a blue square at the top", before)
    assert recoloured.semantics == 8.89
    assert not is_success(recoloured)


def test_an_untouched_picture_is_no_edit():
    assert scored("a green square at the top", "a green square at the top").semantics == 0.0


def test_a_blank_canvas_shows_nothing():
    scores = score(None, draw({}), WISH)
    assert (scores.semantics, scores.quality) == (0.0, 10.0)
    assert "sees nothing" in scores.reason


@pytest.mark.parametrize("shape", SHAPES)
def test_a_smear_loses_quality(shape):
    clean = draw({"left": Thing("red", shape)})
    smeared = clean.filter(ImageFilter.GaussianBlur(3))
    assert score(None, clean, f"a red {shape} at the left").quality > 9.5
    assert not is_success(score(None, smeared, f"a red {shape} at the left"))
    assert score(None, smeared, f"a red {shape} at the left").quality < 5


def test_noise_is_worth_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    scores = score(None, Image.fromarray(noise), WISH)
    assert scores.quality == 0.0
    assert not is_success(scores)


def test_a_colour_of_no_name_is_unclear():
    pixels = np.asarray(draw({"left": Thing("red", "square")})).copy()
    pixels[pixels[..., 1] < 120] = (120, 120, 120)
    assert str(read(Image.fromarray(pixels)).sightings["left"]) == "unclear square"


def test_a_dirty_background_loses_quality():
    pixels = np.asarray(draw({"left": Thing("red", "circle")})).copy()
    pixels[:, SIZE // 2 :] -= 45
    scores = score(None, Image.fromarray(pixels), WISH)
    assert scores.semantics == 10.0
    assert not is_success(scores)


def test_an_unreadable_instruction_is_an_error():
    with pytest.raises(ValueError, match="cannot read"):
        score(None, draw({}), "draw something nice")
