"""Our rollout in verl's agent loop, on fakes: what verl is handed, what it is not, and what the ledger keeps."""

import asyncio
import inspect
from dataclasses import replace

import pytest
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, AgentLoopWorker
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from actors.store.ledger import Ledger
from actors.store.ledger import read_ledger as rows_of
from actors.user_functions.runner import RewardRunner
from rl.recipe.reader import load_recipe
from rl.rescore.run import rescore
from rl.run_dir.provenance import write_provenance
from rl.services import Services
from rl.verl_plugin import CriticLoop, DrawnByVerl, GroupRollouts, Place
from rollout.roles import GeneratorError
from rollout.single_step import Regenerate, SingleStep
from rollout.text.critique import format_critique
from rollout.text.seeds import seed_of
from rollout.types import Critique, SamplingParams
from tests.support.fakes import GOOD, PHRASINGS, FakeGenerator, FakeJudge, make_task

TASKS = {"train": [make_task(0), make_task(1)], "heldout": [make_task(2)]}
END = 99
N = 4
ANSWER = format_critique(Critique(False, GOOD, "looks wrong"))


class Generator(FakeGenerator):
    """Fails for the prompts that it is told."""

    def __init__(self, refused=()):
        super().__init__()
        self.refused = refused

    async def edit(self, request):
        if request.prompt in self.refused:
            raise GeneratorError("out of memory")
        return await super().edit(request)


class Verl:
    """Draws the phrasings in turn."""

    def __init__(self, is_truncated=False, is_aborted=False):
        self.requests = []
        self.last, self.is_aborted = 5 if is_truncated else END, is_aborted

    async def draw(self, request):
        self.requests.append(request)
        choice = (len(self.requests) - 1) % len(PHRASINGS)
        tokens = [] if self.is_aborted else [choice, self.last]
        return AgentLoopOutput(
            prompt_ids=[1, 2],
            response_ids=tokens,
            response_mask=[1] * len(tokens),
            response_logprobs=[-0.5] * len(tokens),
            metrics=AgentLoopMetrics(),
            extra_fields={"min_global_steps": 3},
        )

    def sampler(self):
        return DrawnByVerl(self.draw, lambda ids: format_critique(Critique(False, PHRASINGS[ids[0]], "so")), END)


def recipe_in(folder, *overrides):
    return load_recipe("recipes/shapes_grpo.yaml", [f"run_dir={folder}", f"rollout.n={N}", *overrides])


def rollouts_in(folder, *overrides, generator=None):
    recipe = recipe_in(folder, *overrides)
    journey = SingleStep(
        sampler=Verl().sampler(),
        generator=generator or FakeGenerator(),
        judge=FakeJudge(),
        reward=RewardRunner(recipe.reward.terms),
        template="<image><image>{instruction}",
        params=SamplingParams(),
        regenerate=Regenerate(recipe.rollout.regenerate),
    )
    return GroupRollouts(Services(recipe, journey, Ledger.open(folder / "ledger")), TASKS)


def place(index, *, row=0, split="train", step=7):
    return Place("a-uid", index, step, split, row, TASKS[split][row].id)


async def whole_group(rollouts, verl, **where):
    return await asyncio.gather(*(rollouts.output(place(i, **where), N, verl.sampler()) for i in range(N)))


def test_each_response_gets_its_own_reward_and_every_sample_is_in_the_ledger(tmp_path):
    verl = Verl()
    outputs = asyncio.run(whole_group(rollouts_in(tmp_path), verl))
    assert len(verl.requests) == N  # though each of the four could have drawn the group
    rows = {row["index"]: row for row in rows_of(tmp_path / "ledger")}
    assert sorted(rows) == list(range(N))
    for index, [output] in enumerate(outputs):
        assert rows[index]["critique"]["refine_prompt"] == PHRASINGS[output.response_ids[0]]
        assert output.reward_score == rows[index]["reward"]["total"]
        assert output.extra_fields["reward_extra_info"] == rows[index]["reward"]["terms"]
        assert (rows[index]["phase"], rows[index]["step"], rows[index]["policy_version"]) == ("train", 7, 3)
    assert len({output.reward_score for [output] in outputs}) > 1


def test_what_is_asked_is_what_our_own_training_would_ask(tmp_path):
    verl, generator = Verl(), FakeGenerator()
    recipe = recipe_in(tmp_path)
    asyncio.run(whole_group(rollouts_in(tmp_path, generator=generator), verl))
    task, seed = TASKS["train"][0], seed_of(recipe.seed, "sample", 7)
    assert sorted(request.seed for request in verl.requests) == sorted(seed_of(seed, task.id, i) for i in range(N))
    assert {request.seed for request in generator.requests} == {seed_of(recipe.seed, "edit", task.id)}
    assert verl.requests[0].images == (task.before, task.after)


def test_a_failed_sample_is_nothing_to_learn_from_and_no_zero(tmp_path):
    rollouts = rollouts_in(tmp_path, generator=Generator({GOOD}))
    outputs = asyncio.run(whole_group(rollouts, Verl()))
    assert [len(output) for output in outputs] == [1, 1, 1, 0]
    [failed] = [row for row in rows_of(tmp_path / "ledger") if row["failure"]]
    assert failed["failure"] == {"stage": "generate", "error": "GeneratorError: out of memory"}
    assert failed["reward"] is None


def test_a_group_with_too_few_valid_samples_is_left_out_but_validation_keeps_what_there_is(tmp_path):
    refused = Generator(set(PHRASINGS[1:]))  # a lone survivor would get its raw reward as advantage
    outputs = asyncio.run(whole_group(rollouts_in(tmp_path / "a", generator=refused), Verl()))
    assert [len(output) for output in outputs] == [0, 0, 0, 0]
    outputs = asyncio.run(whole_group(rollouts_in(tmp_path / "b", generator=refused), Verl(), split="heldout"))
    assert [len(output) for output in outputs] == [1, 0, 0, 0]
    assert {row["phase"] for row in rows_of(tmp_path / "b" / "ledger")} == {"during"}


def test_an_aborted_request_is_a_failed_sample(tmp_path):
    assert asyncio.run(whole_group(rollouts_in(tmp_path), Verl(is_aborted=True))) == [[], [], [], []]
    assert {row["failure"]["stage"] for row in rows_of(tmp_path / "ledger")} == {"sample"}


@pytest.mark.parametrize(("overlong", "mask"), [("keep", [1, 1]), ("mask", [0, 0])])
def test_a_truncated_answer_is_masked_where_the_recipe_says_so(tmp_path, overlong, mask):
    rollouts = rollouts_in(tmp_path, f"algorithm.overlong={overlong}")
    outputs = asyncio.run(whole_group(rollouts, Verl(is_truncated=True)))
    assert [output.response_mask for [output] in outputs] == [mask] * N


def test_rewards_are_computed_again_bit_for_bit(tmp_path):
    rollouts = rollouts_in(tmp_path, generator=Generator({PHRASINGS[2]}))
    write_provenance(recipe_in(tmp_path))
    asyncio.run(whole_group(rollouts, Verl()))
    rescored = asyncio.run(rescore(tmp_path))
    assert rescored.is_good
    assert rescored.samples.num_rewarded_before == rescored.samples.num_identical == N - 1


def test_groups_are_forgotten_once_verl_has_them(tmp_path):
    rollouts = rollouts_in(tmp_path)
    asyncio.run(whole_group(rollouts, Verl()))
    assert (rollouts._groups, rollouts._num_answered) == ({}, {})


def test_what_does_not_fit_is_told(tmp_path):
    rollouts = rollouts_in(tmp_path)
    for wrong, told in [
        (replace(place(0), group="b", task_id="another"), "records have changed"),
        (replace(place(0), group="c", row=5), "records have changed"),
        (place(N), "groups of other sizes"),
    ]:
        with pytest.raises(ValueError, match=told):
            asyncio.run(rollouts.output(wrong, N, Verl().sampler()))
    with pytest.raises(ValueError, match=r"verl's rollout.n is 5, the recipe's 4"):
        asyncio.run(rollouts.output(replace(place(0), group="d"), N + 1, Verl().sampler()))
    row = {"uid": "u", "session_id": 1, "global_steps": 2, "extra_info": {"split": "train", "index": 4, "task_id": "t"}}
    assert Place.of(row) == Place("u", 1, 2, "train", 4, "t")
    with pytest.raises(ValueError, match="use_v1"):
        Place.of({name: value for name, value in row.items() if name != "session_id"})
    with pytest.raises(ValueError, match="interleave data verl"):
        Place.of(row | {"extra_info": {"index": 4}})


def test_verl_has_what_the_plugin_uses():
    """verl's interfaces change with each minor version: what is said here is all that the plug-in relies on."""
    assert {"trainer_config", "server_manager", "tokenizer", "processor"} <= set(
        inspect.signature(AgentLoopBase.__init__).parameters
    )
    assert list(inspect.signature(inspect.unwrap(SingleTurnAgentLoop.run)).parameters) == [
        "self",
        "sampling_params",
        "priority",
        "kwargs",
    ]
    assert inspect.iscoroutinefunction(SingleTurnAgentLoop.process_multi_modal_info)
    assert list(inspect.signature(AgentLoopBase.process_multi_modal_info).parameters) == ["self", "messages"]
    assert {"prompt_ids", "response_ids", "response_mask", "response_logprobs", "reward_score", "extra_fields"} <= set(
        AgentLoopOutput.model_fields
    )
    assert issubclass(CriticLoop, AgentLoopBase)
    run_one = inspect.getsource(AgentLoopWorker._run_agent_loop)
    assert "hydra.utils.instantiate" in run_one  # which hands the loop what its configuration says beside `_target_`
    assert "agent_loop.run(sampling_params, **kwargs)" in run_one
