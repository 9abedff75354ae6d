"""Benchmarks of edits and interleaved answers through the whole run, on fakes."""

import asyncio
import json
import re

import pytest
from rich.console import Console

from actors.store.store import Store
from evals.official.registry import load_benchmark
from rl.official.config import agent_of, load_judge
from rl.official.outputs import OutputLog
from rl.official.prepare import estimate, prepare_official, read_items, read_prompts
from rl.official.report import FIGURES, judge_folder
from rl.official.run import hand_in, outputs_of, score
from rl.story.config import load_story_recipe
from tests.support.fake_asker import FakeAsker
from tests.support.small_benchmarks import ANSWERS, SCORES, write_small
from tests.support.storytelling import StorePainter, storyline


def ignore(what, done, of):
    pass


@pytest.mark.parametrize("name", ANSWERS)
def test_a_run_hands_in_and_finds_the_judges_scores(name, tmp_path):
    benchmark, (data, texts) = load_benchmark(name), write_small(name, tmp_path)
    stories = load_story_recipe("recipes/shapes_story.yaml", [f"store={tmp_path / 'store'}"])
    recipe = agent_of(stories, name, tmp_path / "out", is_alone=True)
    judge = load_judge(benchmark, ["api_key_env=PATH"])
    run = prepare_official(benchmark, recipe, data, judge=judge, prompts=texts)
    assert estimate(run)[0] == f"2 of 2 items of {benchmark.title}"
    line = storyline(generator=StorePainter(run.store))
    outputs = asyncio.run(outputs_of(run, OutputLog(run.out), line.tell, ignore))
    assert [output.error for output in outputs.values()] == [None, None]
    assert str(hand_in(run, outputs)).startswith(str(run.out / "submission"))
    asker = FakeAsker(lambda question: {"text": ANSWERS[name]})
    asyncio.run(score(run, outputs, asker, Console(quiet=True), say=ignore))
    found = json.loads((judge_folder(run.out, judge.model) / FIGURES).read_text())
    assert found["scores"] == dict.fromkeys((item.id for item in run.items), SCORES[name])
    assert found["ours"]["overall"]["value"] == SCORES[name]
    assert len(asker.asked) == sum(benchmark.num_questions(item) for item in run.items)


@pytest.mark.parametrize(("name", "num_images"), [("rise", 2), ("isg", 6)])
def test_an_estimate_counts_the_images_of_a_story(name, num_images, tmp_path):
    benchmark, (data, texts) = load_benchmark(name), write_small(name, tmp_path)
    stories = load_story_recipe("recipes/shapes_story.yaml", [f"store={tmp_path / 'store'}"])
    recipe, judge = agent_of(stories, name, tmp_path / "out"), load_judge(benchmark, ["api_key_env=PATH"])
    run = prepare_official(benchmark, recipe, data, judge=judge, prompts=texts)
    tokens = int(re.findall(r"of about ([\d,]+) \+", estimate(run)[-1])[0].replace(",", ""))
    assert tokens // 1000 == num_images


@pytest.mark.parametrize("name", ANSWERS)
def test_data_may_be_moved_between_two_starts(name, tmp_path):
    benchmark, (data, _) = load_benchmark(name), write_small(name, tmp_path)
    stories = load_story_recipe("recipes/shapes_story.yaml", [f"store={tmp_path / 'store'}"])
    recipe = agent_of(stories, name, tmp_path / "out", is_alone=True)
    before = prepare_official(benchmark, recipe, data, judge=None, prompts=None)
    moved = data.rename(tmp_path / "moved")
    assert prepare_official(benchmark, recipe, moved, judge=None, prompts=None).sources == before.sources


@pytest.mark.parametrize("name", ANSWERS)
def test_without_the_judges_texts_it_is_said_what_to_get(name, tmp_path):
    benchmark, (data, _) = load_benchmark(name), write_small(name, tmp_path)
    owner = benchmark.repository.partition("@")[0]
    with pytest.raises(ValueError, match=f"--prompts {data} has no .*git clone https://github.com/{owner}"):
        read_prompts(benchmark, data)


def test_rows_of_another_form_are_refused_in_one_line(tmp_path):
    benchmark, (data, _) = load_benchmark("isg"), write_small("isg", tmp_path)
    rows = json.loads((data / "rows.json").read_text())
    (data / "rows.json").write_text(json.dumps([rows[0] | {"Query": ["a cat"]}]))
    with pytest.raises(ValueError, match=f"--data {data} is not in the form of ISG-Bench's data"):
        read_items(benchmark, data, Store(tmp_path / "store"))
