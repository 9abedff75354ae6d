"""The plug-in in verl's own worker, with the embedded critic's tokenizer; its servers and its queue are fakes.

All of verl is real here that is neither Ray nor a model: how its worker of version 1 makes loops, asks them, takes what
they return, and what it computes of it. Slow: verl's worker, data set and transformers' processors are imported for it.
"""

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import create_rl_dataset
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.workers.rollout.replica import TokenOutput

from actors.store.ledger import Ledger
from actors.store.ledger import read_ledger as rows_of
from actors.user_functions.runner import RewardRunner
from rl import verl_plugin
from rl.recipe.config import REPO
from rl.recipe.paths import read_prompt
from rl.recipe.reader import load_recipe
from rl.services import Services, tasks_of
from rl.verl_data import write_verl_data
from rl.verl_plugin import GroupRollouts
from rollout.roles import GeneratorError
from rollout.single_step import SingleStep
from rollout.text.critique import format_critique
from rollout.types import Critique, SamplingParams
from tests.support.fakes import PHRASINGS, FakeGenerator, FakeJudge, FakeSampler

N, STEP = 4, 3
IMAGE_TOKENS = 16
"""Of a picture of 64 x 64 pixels, in patches of 8 that are merged two by two."""


class Queue(ModuleType):
    """The package TransferQueue, which only those have who train with verl: keeps what is put into it."""

    KVBatchMeta = object

    def __init__(self) -> None:
        super().__init__("transfer_queue")
        self.status: dict[str, str] = {}
        self.samples: dict[str, Any] = {}

    def init(self) -> None: ...

    async def async_kv_put(self, key, partition_id, tag):
        self.status[key] = tag["status"]

    async def async_kv_batch_put(self, keys, fields, tags, partition_id):
        self.samples |= zip(keys, fields, strict=True)


class Servers:
    """verl's client of its servers: they say the phrasings in turn."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.asked = []

    async def generate(self, **asked):
        text = answer(len(self.asked))
        self.asked.append(asked)
        tokens = [*self.tokenizer(text)["input_ids"], self.tokenizer.eos_token_id]
        steps = dict.fromkeys(("global_steps", "min_global_steps", "max_global_steps"), STEP - 1)
        return TokenOutput(token_ids=tokens, log_probs=[-0.5] * len(tokens), extra_fields=steps)


class Generator(FakeGenerator):
    async def edit(self, request):
        if request.prompt == PHRASINGS[2]:
            raise GeneratorError("out of memory")
        return await super().edit(request)


def answer(number):
    return format_critique(Critique(False, PHRASINGS[number % len(PHRASINGS)], "sees a red box"))


@pytest.fixture
def queue(monkeypatch):
    before = set(sys.modules)
    monkeypatch.setitem(sys.modules, "transfer_queue", queue := Queue())
    yield queue
    for name in [name for name in sys.modules if name.startswith("verl.trainer.ppo.v1") and name not in before]:
        del sys.modules[name]  # it knows the fake


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Return the configuration of docs/verl.md, with the data that it names."""
    import verl.trainer

    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    write_verl_data(
        load_recipe("recipes/shapes_grpo.yaml", [f"run_dir={tmp_path}", f"rollout.n={N}"]), tmp_path / "data"
    )
    with initialize_config_dir(config_dir=str(REPO / "recipes" / "verl"), version_base=None):
        path = f"hydra.searchpath=[file://{verl.trainer.__path__[0]}/config]"
        config = compose("shapes_grpo", overrides=[path])
    OmegaConf.resolve(config)
    return config


@pytest.mark.slow
def test_verls_own_worker_gets_rewards_and_leaves_failed_samples_out(tmp_path, config, queue, monkeypatch):
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    recipe = load_recipe(config.actor_rollout_ref.rollout.agent.agent_loop_config_path.replace("agent_loop", "recipe"))
    tasks = tasks_of(recipe)
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    servers = Servers(model.tokenizer)
    journey = SingleStep(
        sampler=FakeSampler(),
        generator=Generator(),
        judge=FakeJudge(),
        reward=RewardRunner(recipe.reward.terms),
        template=read_prompt(recipe.rollout.prompt, "rollout.prompt"),
        params=SamplingParams(),
    )
    rows = create_rl_dataset(config.data.train_files, config.data, model.tokenizer, model.processor, is_train=True)
    number, task = next((i, task) for i, task in enumerate(tasks["train"]) if not task.is_success)
    batch = tu.get_tensordict(collate_fn([rows[number]]) | {"uid": ["a-uid"]})
    tu.assign_non_tensor_data(batch, "global_steps", STEP)

    async def generate():
        rollouts = GroupRollouts(Services(recipe, journey, Ledger.open(tmp_path / "ledger")), tasks)
        started = asyncio.ensure_future(asyncio.sleep(0, rollouts))
        monkeypatch.setitem(verl_plugin._of_process, recipe.run_dir, started)
        worker = AgentLoopWorkerTQ.__ray_metadata__.modified_class(config, servers, None, [])
        await worker.generate_sequences(batch)
        await asyncio.gather(*worker.background_tasks)

    asyncio.run(generate())
    assert queue.status == {"a-uid": "finished"}
    ledger = {row["index"]: row for row in rows_of(tmp_path / "ledger")}
    [failed] = [index for index, row in ledger.items() if row["failure"]]  # whichever was drawn third
    assert sorted(queue.samples) == [f"a-uid_{index}_0" for index in range(N) if index != failed]
    asked = [asked["sampling_params"]["seed"] for asked in servers.asked]
    assert sorted(asked) == sorted(row["seed"] % (1 << 63) for row in ledger.values())
    for key, sample in queue.samples.items():
        row = ledger[int(key.split("_")[1])]
        shown = model.tokenizer.decode(sample["prompts"])
        assert shown.count("<|image_pad|>") == 2 * IMAGE_TOKENS
        assert f"instruction: {task.instruction}\n" in shown
        assert sample["multi_modal_inputs"]["image_grid_thw"].shape == (2, 3)
        assert model.tokenizer.decode(sample["responses"], skip_special_tokens=True) == row["response"]
        assert sample["rm_scores"].sum().item() == pytest.approx(row["reward"]["total"])
        assert sample["response_mask"].all()
        assert (row["step"], row["policy_version"], row["is_truncated"]) == (STEP, STEP - 1, False)
