"""The committed weights and tasks. Slow because they load the real pipeline and the real critic."""

import json
import random
from functools import cache
from pathlib import Path

import pytest

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)
from actors.store.store import Store
from data.table.record_table import open_tasks
from recipes.shapes.judge import is_success, read, score
from recipes.shapes.world import Thing, common_words, draw, parse, random_offsets, random_scene, say

SHAPES = Path(__file__).parents[3] / "recipes/shapes"
TASKS = SHAPES / "tasks"


@pytest.mark.parametrize(("split", "count"), [("train", 1024), ("heldout", 448)])
def test_tasks_load_and_most_are_failed(split, count):
    tasks = open_tasks(TASKS / f"{split}.jsonl")
    assert len(tasks) == count
    assert 0.7 <= sum(not task.is_success for task in tasks) / count <= 0.8
    for task in tasks:
        assert task.is_success == is_success(task.scores)
        assert parse(task.instruction) == parse(task.prompt)


@pytest.mark.slow
def test_no_step_is_in_both_splits(tmp_path):
    """Slow: reads some hundred pictures."""
    store = Store(tmp_path)

    @cache  # many steps start from the same picture
    def scene(before):
        return str(sorted(read(store.get_image(before)).scene.items())) if before else "[]"

    def step(task):
        return scene(task.before), str(sorted(parse(task.instruction).items()))

    train, heldout = ({step(task) for task in open_tasks(TASKS / f"{split}.jsonl")} for split in ("train", "heldout"))
    assert not train & heldout


@pytest.mark.slow
def test_generator_obeys_its_common_words():
    from recipes.shapes import generator
    from recipes.shapes.attempts import edit

    pipe, rng = generator.load(SHAPES / "weights/generator"), random.Random(0)
    fixed = []
    for index in range(20):
        scene = random_scene(rng, rng.choice((0, 0, 1, 2)))
        before = draw(scene, random_offsets(rng)) if scene else None
        wishes = random_scene(rng, rng.choice((1, 2)))
        prompt = say(wishes, common_words(0).__getitem__)
        images = edit(pipe, before, [prompt] * 2, [2 * index, 2 * index + 1])
        fixed += [is_success(score(before, image, prompt)) for image in images]
    assert sum(fixed) / len(fixed) >= 0.7


@pytest.mark.slow
def test_an_image_does_not_depend_on_its_batch():
    import numpy as np

    from recipes.shapes import generator
    from recipes.shapes.attempts import edit

    pipe = generator.load(SHAPES / "weights/generator")
    before = draw({"top": Thing("red", "square")})
    prompts = ["a blue dot at the left", "a red cone at the floor and a green box at the right"]
    together = edit(pipe, before, prompts, [1, 2])
    alone = [edit(pipe, before, [prompt], [seed])[0] for prompt, seed in zip(prompts, [1, 2], strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 2


@pytest.mark.slow
def test_critic_answers_in_the_asked_form():
    from recipes.shapes.headroom import sample_answers
    from rollout.text.critique import CritiqueError, parse_critique

    lines = (TASKS / "heldout.jsonl").read_text().splitlines()[:16]
    answers = sample_answers(SHAPES / "weights/critic", [json.loads(line) for line in lines], TASKS, seed=0)
    num_valid = 0
    for answer in (answer for group in answers for answer in group):
        try:
            num_valid += bool(parse_critique(answer))
        except CritiqueError:
            continue
    assert num_valid / 128 >= 0.95
