"""A checkpoint's own answers as SFT records: the contract's form, and nothing else of them changed."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from data.records.sft import Kind
from data.table.record_table import open_sft
from rl import warm_up
from rl.cli.main import main
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe, to_yaml
from rl.warm_up import load_rewrite_recipe, rewritten
from rollout.text.critique import parse_critique
from rollout.types import SamplingParams
from tests.support.fakes import make_task
from tests.support.literal_sampler import LiteralSampler

PROMPT = "Be strict.\n---\n<image><image>{instruction}|{prompt}"
TASKS = [make_task(number) for number in range(20)]


def test_every_answer_that_can_be_read_is_a_record_of_what_it_says():
    sampler = LiteralSampler(strict=0.3, garbage=0.2)
    records, counts = asyncio.run(rewritten(sampler, TASKS, PROMPT, SamplingParams(), seed=1))
    assert counts.num == 20
    assert len(records) == 20 - counts.refused.total() == counts.num_strict + counts.num_lenient
    assert 0 < counts.refused.total() < 10
    assert counts.num_strict
    assert counts.num_lenient
    first = json.loads(json.dumps(records[0]))
    said = parse_critique(first["messages"][-1]["content"])
    assert (said.is_success, said.thought) == (False, "looks wrong")
    assert first["messages"][0] == {"role": "system", "content": "Be strict."}
    assert first["images"] == [{"canvas": "white"}, "after-0"]
    assert first["source_prompt"] == "a red box"


class Wavering(LiteralSampler):
    """Accepts every image but at each fourth answer about it."""

    def __init__(self):
        super().__init__(strict=1.0)
        self.seeds = []

    async def sample(self, request):
        self.seeds.append(request.seed)
        verdict = str(len(self.seeds) % 4 != 0).lower()
        text = f'<think>{verdict}</think><answer>{{"previous_step_success": {verdict}, "refine_prompt": "x"}}</answer>'
        return SimpleNamespace(text=text)


def test_of_several_answers_one_is_kept_whose_verdict_is_right():
    tasks = [replace(task, is_success=number % 2 == 0) for number, task in enumerate(TASKS)]
    sampler = Wavering()
    records, counts = asyncio.run(rewritten(sampler, tasks, PROMPT, SamplingParams(), 1, 4))
    assert len(set(sampler.seeds)) == counts.num == 80
    said = json.loads(json.dumps([record["messages"] for record in records]))
    verdicts = [parse_critique(messages[-1]["content"]).is_success for messages in said]
    assert verdicts == [task.is_success for task in tasks]
    once = Wavering()
    asyncio.run(rewritten(once, tasks, PROMPT, SamplingParams(), 1))
    assert set(once.seeds) < set(sampler.seeds)  # the first answers are those of one alone
    never = asyncio.run(rewritten(Wavering(), tasks[1::2], PROMPT, SamplingParams(), 1, 3))[0]
    assert len(never) < 10  # what was never judged rightly teaches nothing


def test_the_same_seed_gives_the_same_records_and_a_text_that_no_record_may_hold_is_left_out():
    again = [asyncio.run(rewritten(LiteralSampler(), TASKS, PROMPT, SamplingParams(), 1))[0] for _ in range(2)]
    assert again[0] == again[1]

    class Marking(LiteralSampler):
        async def sample(self, request):
            drawn = await super().sample(request)
            return SimpleNamespace(text=drawn.text.replace("looks", "<image> looks"))

    assert asyncio.run(rewritten(Marking(), TASKS, PROMPT, SamplingParams(), 1))[0] == []
    marked = replace(TASKS[0], instruction="the second <image> again")
    assert len(asyncio.run(rewritten(LiteralSampler(), [marked, TASKS[1]], PROMPT, SamplingParams(), 1))[0]) == 1


def test_the_command_writes_files_that_sft_takes(tmp_path, monkeypatch, capsys):
    started = []

    class Samplers:
        @staticmethod
        async def start(config, model, **settings):
            started.append((model, settings["is_published"]))
            return LiteralSampler()

    monkeypatch.setattr(warm_up, "Samplers", Samplers)
    monkeypatch.setattr("rl.launch.needs_ray", lambda roles: False)
    command = ["data", "rewrite", str(REPO / "recipes/shapes_grpo.yaml"), f"store={tmp_path}/store", "--num", "30"]
    assert main([*command, "--out", str(tmp_path / "own")]) == 0
    assert started == [(str(REPO / "recipes/shapes/weights/critic"), False)]
    printed = capsys.readouterr().out
    assert "30 answers: 0 in the contract's form, 30 that only answers=public reads (literal 30)" in printed
    assert f"data.train={tmp_path}/own/train.jsonl data.heldout={tmp_path}/own/heldout.jsonl" in printed
    for side, number in (("train", 30), ("heldout", 3)):
        records = list(open_sft(tmp_path / "own" / f"{side}.jsonl", Kind.CRITIC_SFT))
        assert len(records) == number
        assert not records[0].is_rewritten
    assert main([*command, "--out", str(tmp_path / "own")]) == 2
    assert "train.jsonl exists; name another folder with --out" in capsys.readouterr().err


def test_a_policy_that_nobody_can_read_leaves_nothing_to_teach(tmp_path, monkeypatch, capsys):
    class Samplers:
        @staticmethod
        async def start(config, model, **settings):
            return LiteralSampler(garbage=1.0)

    monkeypatch.setattr(warm_up, "Samplers", Samplers)
    monkeypatch.setattr("rl.launch.needs_ray", lambda roles: False)
    command = ["data", "rewrite", str(REPO / "recipes/shapes_grpo.yaml"), f"store={tmp_path}/store", "--num", "10"]
    assert main([*command, "--out", str(tmp_path / "own")]) == 1
    printed = capsys.readouterr()
    assert "10 answers: 0 in the contract's form, 10 that nobody reads (tags 10)" in printed.out
    assert "a file is empty" in printed.err


def test_a_recipe_of_rl_as_a_run_keeps_it_is_read_without_what_rewriting_does_not_need(tmp_path):
    kept = tmp_path / "recipe.yaml"
    kept.write_text(to_yaml(load_recipe(REPO / "recipes/critic_grpo.yaml", ["answers=public"])))
    recipe = load_rewrite_recipe(kept, ["policy.model=theirs/critic"])
    assert recipe.policy.model == "theirs/critic"
    assert list(recipe.roles) == ["samplers"]
    with pytest.raises(ValueError, match="unknown key polici"):
        load_rewrite_recipe(kept, ["polici.model=x"])
