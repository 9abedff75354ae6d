"""The agent loop as verl calls it, on verl's own code and the embedded critic's tokenizer; its servers are a fake."""

import asyncio

import pytest
from omegaconf import OmegaConf
from transformers import AutoProcessor
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.workers.rollout.replica import TokenOutput

from actors.store.ledger import Ledger
from actors.store.ledger import read_ledger as rows_of
from actors.user_functions.runner import RewardRunner
from rl import verl_plugin
from rl.recipe.paths import read_prompt
from rl.recipe.reader import load_recipe, to_yaml
from rl.services import Services, tasks_of
from rl.verl_plugin import CriticLoop, GroupRollouts
from rollout.single_step import SingleStep
from rollout.text.critique import format_critique
from rollout.types import Critique, SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler

N = 2
MODEL = "recipes/shapes/weights/critic"
IMAGE_TOKENS = 16
"""Of a picture of 64 x 64 pixels, in patches of 8 that are merged two by two."""


class Servers:
    """verl's client of its servers: all of them say the same."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.asked = []

    async def generate(self, **asked):
        self.asked.append(asked)
        return TokenOutput(
            token_ids=self.tokens, log_probs=[-0.5] * len(self.tokens), extra_fields={"min_global_steps": 3}
        )


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(MODEL)


def test_verl_draws_by_its_servers_what_the_recipe_asks(tmp_path, monkeypatch, processor):
    recipe = load_recipe("recipes/shapes_grpo.yaml", [f"run_dir={tmp_path}", f"rollout.n={N}"])
    (tmp_path / "verl.yaml").write_text(to_yaml(recipe))
    tasks = tasks_of(recipe)
    number, task = next((i, task) for i, task in enumerate(tasks["train"]) if not task.is_success and task.before)
    answer = format_critique(Critique(False, "a red box", "sees a red box"))
    tokenizer = processor.tokenizer
    servers = Servers([*tokenizer(answer)["input_ids"], tokenizer.eos_token_id])
    journey = SingleStep(
        sampler=FakeSampler(),
        generator=FakeGenerator(),
        judge=FakeJudge(),
        reward=RewardRunner(recipe.reward.terms),
        template=read_prompt(recipe.rollout.prompt, "rollout.prompt"),
        params=SamplingParams(),
    )
    settings = {"n": N, "val_kwargs": {"n": 1}, "name": "vllm", "prompt_length": 256, "response_length": 128}

    async def run():
        rollouts = GroupRollouts(Services(recipe, journey, Ledger.open(tmp_path / "ledger")), tasks)
        started = asyncio.ensure_future(asyncio.sleep(0, rollouts))
        monkeypatch.setitem(verl_plugin._of_process, str(tmp_path), started)

        def loop():
            return CriticLoop(
                trainer_config=DictConfigWrap(OmegaConf.create({"actor_rollout_ref": {"rollout": settings}})),
                server_manager=servers,
                tokenizer=tokenizer,
                processor=processor,
                dataset_cls=None,
                data_config=DictConfigWrap(OmegaConf.create({})),
                hf_model_type="qwen3_vl",
                recipe=str(tmp_path / "verl.yaml"),
            )

        info = {"split": "train", "index": number, "task_id": task.id}
        asked = {"uid": "u", "global_steps": 1, "extra_info": info, "raw_prompt": [{"role": "user", "content": "old"}]}
        params = {"temperature": 1.0, "logprobs": True}
        return await asyncio.gather(*(loop().run(dict(params), session_id=i, **asked) for i in range(N)))

    outputs = [output for [output] in asyncio.run(run())]
    assert len(servers.asked) == N
    rows = {row["index"]: row for row in rows_of(tmp_path / "ledger")}
    assert {asked["sampling_params"]["seed"] for asked in servers.asked} == {
        row["seed"] % (1 << 63) for row in rows.values()
    }
    for index, output in enumerate(outputs):
        shown = tokenizer.decode(output.prompt_ids)
        assert shown.count("<|image_pad|>") == 2 * IMAGE_TOKENS
        assert f"instruction: {task.instruction}\n" in shown
        assert "old" not in shown
        assert [image.size for image in output.multi_modal_data["images"]] == [(64, 64)] * 2
        assert (output.response_ids, output.response_mask) == (servers.tokens, [1] * len(servers.tokens))
        assert output.reward_score == rows[index]["reward"]["total"]
        assert rows[index]["response"] == answer
        assert not rows[index]["is_truncated"]
