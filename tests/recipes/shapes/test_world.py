"""The words and pictures of the shapes world."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.shapes.world import (
    COLOURS,
    PLACES,
    SHAPES,
    SIZE,
    WORDS,
    Thing,
    common_words,
    draw,
    parse,
    random_offsets,
    random_scene,
    say,
    say_randomly,
)


@given(st.integers(), st.integers(1, 4))
def test_any_phrasing_reads_back_as_the_same_scene(seed, num_things):
    rng = random.Random(seed)
    scene = random_scene(rng, num_things)
    assert parse(say_randomly(scene, rng)) == scene


@pytest.mark.parametrize(
    "text", ["An amber cone at the floor", "a golden wedge at the south.", "A YELLOW triangle at the base"]
)
def test_parse_forgives_case_article_and_stop(text):
    assert parse(text) == {"bottom": Thing("yellow", "triangle")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red circle",
        "a red red at the left",
        "a circle red at the left",
        "a red circle at the left and",
        "red dot left",
    ],
)
def test_parse_says_what_it_cannot_read(text):
    with pytest.raises(ValueError, match="cannot read"):
        parse(text)


def test_parse_refuses_two_things_at_one_place():
    with pytest.raises(ValueError, match="twice"):
        parse("a red dot at the left and a blue box at the west")


def test_every_concept_has_four_words_and_no_word_two_concepts():
    words = [word for synonyms in WORDS.values() for word in synonyms]
    assert len(words) == len(set(words)) == 4 * (len(COLOURS) + len(SHAPES) + len(PLACES))


def test_common_words_follow_the_seed_alone():
    assert common_words(3) == common_words(3)
    assert common_words(0) != common_words(1)
    assert all(word in WORDS[concept] for concept, word in common_words(0).items())


def test_drawing_again_elsewhere_leaves_the_rest_untouched():
    scene, offsets = {"left": Thing("red", "circle")}, random_offsets(random.Random(0))
    alone = np.asarray(draw(scene, offsets))
    both = np.asarray(draw({**scene, "right": Thing("blue", "square")}, offsets))
    assert alone.shape == (SIZE, SIZE, 3)
    assert (alone[:, : SIZE // 2] == both[:, : SIZE // 2]).all()
    assert (alone != both).any()


def test_say_names_places_in_their_fixed_order():
    scene = {"bottom": Thing("red", "circle"), "right": Thing("green", "triangle")}
    assert say(scene, common_words(0).__getitem__).count(" and ") == 1
    assert parse(say(scene, str)) == scene
    assert say(scene, str).index("right") < say(scene, str).index("bottom")
