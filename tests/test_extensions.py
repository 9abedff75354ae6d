"""One more of anything: of the user's own without a change to a file of ours, of ours by one line in one of them.

What the user's own are, is what `docs/extending.md` shows: its blocks are the modules and the recipe of this run.
"""

import asyncio
import difflib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.generator.generator import Generator
from actors.generator.kind import check_generator
from actors.judge.judge import check_judge, start_judge
from actors.observer import check_evidence, start_observers
from actors.policy.check import check_loss
from actors.store.store import Store
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import check_teacher, describe_teacher, start_teacher
from actors.user_functions.runner import RewardRunner
from rl.advantages import check_estimator
from rl.check_reward import needed_evidence
from rl.recipe.config import REPO, Recipe
from rl.recipe.jobs import TrackingConfig
from rl.recipe.reader import load_recipe
from rl.run_dir.provenance import sources_of
from rl.stream import RolloutStream
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rl.tracking.trackers import check_trackers
from rl.train import train
from rollout.single_step import SingleStep
from rollout.text.critique import parse_critique
from rollout.text.plan import parse_plan
from rollout.types import Attempt, CompareRequest, Request, SamplingParams, Scores
from tests.support.fakes import FakePolicy, FakeSampler, make_task
from tests.support.training import no_evaluations

GUIDE = REPO / "docs" / "extending.md"
RUN = """
name: mine
num_steps: 2
run_dir: run
store: store
data: {train: train.jsonl, heldout: heldout.jsonl}
policy: {model: a-critic}
rollout: {groups_per_step: 3, n: 6}
"""


@pytest.fixture
def guide(tmp_path, monkeypatch):
    """The guide's files in a folder that is imported from; returns its recipe of training and that of data."""
    text = GUIDE.read_text(encoding="utf-8")
    recipes: dict[str, dict] = {"": yaml.safe_load(RUN), " data": {}}
    for kind, block in re.findall(r"^```(\S+(?: data)?)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind == "python":
            name = block.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(block)
        else:
            recipes[kind.removeprefix("yaml")] |= yaml.safe_load(block)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipes[""]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, tmp_path)
    return load_recipe(tmp_path / "mine.yaml"), recipes[" data"]


def forget(monkeypatch, folder):
    """Have a folder's modules imported anew: another test had others by the same names."""
    importlib.invalidate_caches()
    for file in folder.glob("*.py"):
        monkeypatch.delitem(sys.modules, file.stem, raising=False)


class LossPolicy(FakePolicy):
    """Computes the recipe's loss of each batch as a rank does, two rows a micro-batch."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.loss_config = recipe.algorithm.loss

    async def update(self, batch):
        from actors.policy.update_metrics import over_ranks, over_steps
        from actors.policy.verl_loss import PolicyLoss

        loss, said = PolicyLoss(self.loss_config), {}
        total = sum(len(row.token_ids) for row in batch.rows)
        for start in range(0, len(batch.rows), 2):
            value, metrics = loss(*micro_batch(batch.rows[start : start + 2], total, len(batch.rows)))
            value.backward()
            for name, metric in metrics.items():
                said.setdefault(name, metric.init_list()).extend(metric)
        return await super().update(batch) | over_steps([over_ranks({name: [one] for name, one in said.items()})])


def micro_batch(rows, total, num_rows):
    """Return what the model said to some rows, and the rows as the engine hands them to the loss."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu

    def jagged(lists, dtype=torch.float32):
        return tu.nested_tensor_from_tensor_list([torch.tensor(values, dtype=dtype) for values in lists])

    data = {
        "prompts": jagged([row.prompt_token_ids for row in rows], torch.long),
        "responses": jagged([row.token_ids for row in rows], torch.long),
        "response_mask": jagged([[1.0] * len(row.token_ids) for row in rows]),
        "advantages": jagged([row.advantages for row in rows]),
        "rollout_log_probs": jagged([row.rollout_logprobs for row in rows]),
    }
    batch = TensorDict(data, batch_size=[len(rows)])
    batch = tu.assign_non_tensor(batch, dp_size=1, batch_num_tokens=total, global_batch_size=num_rows)
    whole = jagged([[0.0] * (len(row.prompt_token_ids) - 1) + [*row.rollout_logprobs, 0.0] for row in rows])
    return {"log_probs": whole.requires_grad_()}, batch


async def run(recipe: Recipe, policy: FakePolicy) -> None:
    """Do what a run does, in this process: check, start, train."""
    check_trackers(recipe.tracking)
    check_estimator(recipe.algorithm.advantage)
    check_loss(recipe.algorithm.loss)
    check_generator(recipe.generator, [None, "an image"])
    check_judge(recipe.judge)
    reward = RewardRunner(recipe.reward.terms)
    evidence = await asyncio.to_thread(lambda: needed_evidence(recipe, reward.check()))
    ledger = Path(recipe.run_dir) / "ledger"
    generator = await Generator.start(recipe.generator, recipe.store, "generator", ledger)
    judge = await start_judge(recipe.judge, recipe.store, "judge", ledger)
    observers = await start_observers(evidence, recipe.store, "evidence", ledger)
    sampler = FakeSampler()
    step = SingleStep(sampler, generator, judge, reward, "<image><image>", SamplingParams(), observers=observers)
    stream = RolloutStream(recipe, [make_task(i) for i in range(6)], step.roll_out)
    log = await Log.start(recipe, console=Console(quiet=True), stats=step.stats)
    try:
        await policy.publish(sampler)
        await train(recipe, policy, sampler, stream, no_evaluations(recipe, step, log), log)
    finally:
        await log.close()
        reward.close()


@pytest.mark.slow
def test_a_run_uses_what_is_the_users_own(guide, tmp_path):
    """Slow: it starts processes of Python."""
    recipe, _ = guide
    asyncio.run(run(recipe, policy := LossPolicy(recipe)))
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["mine/redness"] == 1.0
        assert row["mine/groups"] == row["rollout/groups"]
        assert row["reward/red_and_good"] > 0
        assert row["rollout/failure_share"] == 0
        assert row["policy/softness"] == pytest.approx(0.7615942)  # tanh(1): one step, and nothing has moved yet
        assert row["policy/ratio_max"] == 1.0
        assert row["policy/ratio"] == pytest.approx(1.0)
        assert {"generator/calls", "judge/calls", "evidence/redness/calls"} <= row.keys()
    assert {a for batch in policy.batches for row in batch.rows for a in row.advantages} == {-1.0, 0.0, 1.0}
    charted = [json.loads(line) for line in (tmp_path / "run/charts.jsonl").read_text().splitlines()]
    assert charted == [{name: value for name, value in row.items() if name != "time"} for row in rows]
    assert (tmp_path / "run/charts.closed").exists()


def test_what_is_the_users_own_is_named_with_its_digest(guide, tmp_path):
    sources = sources_of(guide[0], check_judge(guide[0].judge))
    named = {
        ("judge", "class"): r"my_judge:MyJudge@\w{16} \{\"strictness\": 2.0\}",
        ("generator", "class"): r"my_generator:MyGenerator@\w{16}",
        ("evidence", "redness.class"): r"my_observer:MyObserver@\w{16}",
        ("reward", "red_and_good"): r"my_reward:red_and_good@\w{16}",
        ("algorithm", "policy_loss"): r"my_loss:soft_clip@\w{16}",
        ("algorithm", "advantage"): r"my_advantage:rank_in_group@\w{16}",
    }
    for (section, name), pattern in named.items():
        assert re.fullmatch(pattern, sources[section][name]), (section, name)


def test_a_judge_of_the_users_own_sees_both_where_it_can(guide, tmp_path):
    from PIL import Image

    recipe, _ = guide
    store = Store(tmp_path / "store")
    old, new = (store.put_image(Image.new("RGB", (4, 4), colour)) for colour in ("red", "blue"))
    judge = asyncio.run(start_judge(recipe.judge, store.root))
    old_scores, new_scores = asyncio.run(judge.compare(CompareRequest(None, old, new, "a box")))
    assert (old_scores.semantics, new_scores.semantics) == (1.0, 9.0)


def test_a_teacher_of_the_users_own_plans_and_criticises(guide, tmp_path):
    from PIL import Image

    _, data = guide
    image = Store(tmp_path).put_image(Image.new("RGB", (4, 4)))
    prompts = {role: str(REPO / section["prompt"]) for role, section in data.items()}
    settings = {role: TeacherConfig(**section | {"prompt": prompts[role]}) for role, section in data.items()}

    async def teach():
        planner, critic = [await start_teacher(settings[role], role, tmp_path) for role in ("planner", "critic")]
        attempt = Attempt(1, 1, "a box", "a red box", 1, image=image, scores=Scores(5, 5))
        return await planner.plan(Request("a red box", (image,)), 7), await critic.criticise(attempt, 8)

    plan, critique = asyncio.run(teach())
    assert parse_plan(plan.text).steps[0].prompt == "a crimson box"
    assert parse_critique(critique.text).refine_prompt == "a red box, ruby"
    assert describe_teacher(settings["planner"], "planner")["class"].endswith('{"word": "crimson"}')


WRONG = """
class NoMethod:
    pass


class Picky:
    def __init__(self, size):
        if size > 9:
            raise ValueError(f"size is {size}")

    def score(self, look):
        pass


class ThreeArguments:
    def score(self, before, after, instruction):
        pass

    def edit(self):
        pass

    def observe(self, look, *, key):
        pass

    def criticise(self, question):
        pass


class OneLook:
    def score(self, look):
        pass

    def compare(self, old, new):
        pass


def function(groups):
    return {}
"""


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (
            lambda: check_judge(JudgeConfig(kind="nowhere:It")),
            "judge.kind is 'nowhere:It': there is no module nowhere; modules are imported from",
        ),
        (lambda: check_judge(JudgeConfig(kind="wrong:It")), r"judge.kind is 'wrong:It': .*wrong\S* has no It, only"),
        (lambda: check_judge(JudgeConfig(kind="wrong:NoMethod")), "it has no method score; expected score"),
        (lambda: check_judge(JudgeConfig(kind="wrong:function")), "function is a function, expected a class"),
        (lambda: check_judge(JudgeConfig(kind="wrong:Picky")), r"Picky\(\) raised TypeError: .*'size'"),
        (
            lambda: check_judge(JudgeConfig(kind="wrong:Picky", options={"size": 10})),
            r"Picky\(size=10\) raised ValueError: size is 10",
        ),
        (
            lambda: check_judge(JudgeConfig(kind="ensemble", members=[{"kind": "wrong:NoMethod"}] * 2)),
            r"judge.members.0.kind is 'wrong:NoMethod': it has no method score",
        ),
        (
            lambda: check_judge(JudgeConfig(kind="wrong:Picky", options={"sise": 1})),
            r"Picky\(sise=1\) raised TypeError: .*'sise'; did you mean size\?",
        ),
        (
            lambda: check_judge(JudgeConfig(kind="wrong:ThreeArguments")),
            r"ThreeArguments.score takes \(before, after, instruction\); it is given \(look\)$",
        ),
        (
            lambda: check_judge(JudgeConfig(kind="wrong:OneLook")),
            r"OneLook.compare takes \(old, new\); it is given \(looks\)$",
        ),
        (
            lambda: check_generator(GeneratorConfig(kind="wrong:ThreeArguments")),
            r"generator.kind is .*: ThreeArguments.edit takes \(\); it is given \(edit\)$",
        ),
        (
            lambda: check_evidence("it", EvidenceConfig(kind="wrong:ThreeArguments")),
            r"ThreeArguments.observe takes \(look, \*, key\); it is given \(look\)$",
        ),
        (
            lambda: check_teacher(
                TeacherConfig(prompt="recipes/prompts/critic.txt", kind="wrong:ThreeArguments"), "critic"
            ),
            r"ThreeArguments.criticise takes \(question\); it is given \(question, seed\)$",
        ),
        (lambda: check_judge(JudgeConfig(kind="broken:It")), "its module raised RuntimeError: no GPU"),
        (lambda: check_generator(GeneratorConfig(kind="wrong:NoMethod")), "generator.kind is .* no method edit"),
        (
            lambda: check_evidence("it", EvidenceConfig(kind="./wrong.py:NoMethod")),
            r"evidence.it.kind is './wrong.py:NoMethod': it has no method observe",
        ),
        (
            lambda: check_teacher(TeacherConfig(prompt="recipes/prompts/critic.txt", kind="wrong:NoMethod"), "critic"),
            "critic.kind is .* no method criticise",
        ),
        (
            lambda: check_trackers(TrackingConfig(backends=["wrong:NoMethod"])),
            "tracking.backends has wrong:NoMethod: it has no method log and no images",
        ),
        (lambda: check_trackers(TrackingConfig(backends=["wrong:It"])), "has no It, only"),
        (lambda: check_trackers(TrackingConfig(backends=[], metrics=["wrong:it"])), "tracking.metrics has wrong:it"),
        (
            lambda: check_trackers(TrackingConfig(backends=[], options={"It": {}})),
            "tracking.options has It, which is no class in tracking.backends",
        ),
        (lambda: check_estimator("wrong:function"), "algorithm.advantage 'wrong:function' needs groups"),
        (lambda: JudgeConfig(options={"size": 1}), "judge.options are for a judge of your own"),
        (lambda: JudgeConfig(kind="opnai"), "judge.kind is 'opnai'; expected one of embedded.*did you mean openai"),
        (lambda: JudgeConfig(kind="wrong:Picky", repeats=2), "judge.repeats are for judges that are asked"),
        (lambda: TrackingConfig(metrics=["no path"]), "tracking.metrics.0 is 'no path'; expected the path of"),
        (
            lambda: GeneratorConfig(name="flux2-klein", kind="chat"),
            'leave one of them out .generator.name: "" takes away',
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_before_anything_starts(tmp_path, monkeypatch, check, said):
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "broken.py").write_text("raise RuntimeError('no GPU')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    forget(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=said) as error:
        check()
    assert "\n" not in str(error.value)


def test_files_of_the_users_own_lie_beside_the_recipe(guide, tmp_path, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "my_judge.py").write_text((tmp_path / "my_judge.py").read_text())
    recipe = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    recipe["judge"]["kind"] = "./my_judge.py:MyJudge"
    (inside / "mine.yaml").write_text(yaml.safe_dump(recipe))
    assert load_recipe(inside / "mine.yaml").judge.kind == f"{inside}/my_judge.py:MyJudge"
    monkeypatch.chdir(inside)
    named = load_recipe(inside / "mine.yaml", ["judge.kind=./my_judge.py:MyJudge", "judge.options.strictness=3"])
    assert (named.judge.kind, named.judge.options) == (f"{inside}/my_judge.py:MyJudge", {"strictness": 3})
    check_judge(named.judge)


@pytest.mark.parametrize("parent", ["critic_grpo.yaml", "shapes_grpo.yaml"])
def test_the_guides_blocks_go_into_a_recipe_that_extends_one_of_ours(guide, tmp_path, parent):
    own, _ = guide
    said = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    blocks = {key: said[key] for key in said if key not in yaml.safe_load(RUN)}
    (tmp_path / "heir.yaml").write_text(yaml.safe_dump({"extends": parent, **blocks}))
    recipe = load_recipe(tmp_path / "heir.yaml")
    check_generator(recipe.generator, [None, "an image"])
    check_judge(recipe.judge)
    assert (recipe.generator.name, recipe.generator.kind) == ("", "my_generator:MyGenerator")
    assert (recipe.reward, recipe.evidence) == (own.reward, own.evidence)


OURS = {
    "actors/judge/kinds/flat.py": """
from actors.judge.judge import JudgeKind
from tests_of_one_more import Flat


class FlatKind(JudgeKind):
    def describe(self, config):
        return {"flat": "1"}

    async def start(self, config, context):
        return Flat()


KIND = FlatKind()
""",
    "actors/generator/kinds/flat.py": """
from actors.generator.kind import GeneratorKind
from tests_of_one_more import Flat


class FlatKind(GeneratorKind):
    needs_model = False

    def max_ongoing(self, config):
        return 1

    async def start(self, config, context):
        return Flat()


KIND = FlatKind()
""",
    "actors/evidence/flat.py": """
from actors.evidence.kind import EvidenceKind
from tests_of_one_more import Flat


class FlatKind(EvidenceKind):
    def check(self, name, config):
        pass

    def describe(self, config):
        return {"flat": "1"}

    async def start(self, config, context):
        return Flat()


KIND = FlatKind()
""",
    "actors/teacher/flat.py": """
from actors.teacher.kind import TeacherKind
from tests_of_one_more import Flat


class FlatKind(TeacherKind):
    def check(self, config, role):
        pass

    def describe(self, config, role):
        return {"flat": "1"}

    async def start(self, config, context, template):
        return Flat()


KIND = FlatKind()
""",
    "rl/tracking/flat.py": """
from rl.tracking.trackers import BuiltinTracker
from tests_of_one_more import Flat


class KIND(Flat, BuiltinTracker):
    package = "json"

    def __init__(self, recipe, first_step, kept):
        pass
""",
}
LINES = {
    "actors/judge/registry.py": '    "flat": "actors.judge.kinds.flat:KIND",\n',
    "actors/generator/registry.py": '    "flat": "actors.generator.kinds.flat:KIND",\n',
    "actors/evidence/registry.py": '    "flat": "actors.evidence.flat:KIND",\n',
    "actors/teacher/registry.py": '    "flat": "actors.teacher.flat:KIND",\n',
    "rl/tracker_registry.py": '    "flat": "rl.tracking.flat:KIND",\n',
}
USE = """
import asyncio

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.generator.generator import Generator
from actors.generator.kind import check_generator
from actors.judge.judge import check_judge, kind_of, start_judge
from actors.observer import start_observers
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import start_teacher
from rl.recipe.jobs import TrackingConfig
from rl.run_dir.provenance import describe_evidence
from rl.tracking.service_metrics import num_devices
from rl.tracking.trackers import check_trackers, start_trackers
from tests.support.training import make_recipe
from tests_of_one_more import Flat


async def use():
    judge, evidence = JudgeConfig(kind="flat"), EvidenceConfig(kind="flat")
    generator = GeneratorConfig(kind="flat")
    check_generator(generator, [None])
    check_judge(judge)
    yield await start_judge(judge, "store")
    yield await Generator.start(generator, "store")
    yield (await start_observers({"it": evidence}, "store", "it", None))["it"]
    yield await start_teacher(TeacherConfig(prompt="recipes/shapes/planner_prompt.txt", kind="flat"), "planner", ".")
    recipe = make_recipe("run", judge=judge, generator=generator, tracking=TrackingConfig(backends=["flat"]))
    check_trackers(recipe.tracking)
    yield start_trackers(recipe, 1, [])[0]
    assert kind_of(judge).describe(judge) == describe_evidence(evidence) == {"flat": "1"}
    assert num_devices(recipe) > 0


async def main():
    print(len([one async for one in use() if isinstance(one, Flat)]), "are used")


asyncio.run(main())
"""


@pytest.mark.slow
def test_one_more_of_ours_is_a_file_and_one_line_of_one_that_is_there(tmp_path):
    """Slow: it copies the tree and starts a process that imports the copy."""
    tree = tmp_path / "tree"
    files = subprocess.run(
        ["git", "ls-files", "*.py", "*.txt"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, files):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / name, tree / name)
    for name, text in OURS.items():
        assert not (tree / name).exists()
        (tree / name).write_text(text)
    for name, line in LINES.items():
        head, brace, tail = (tree / name).read_text().partition(" = {\n")
        assert brace
        (tree / name).write_text(head + brace + line + tail)
    (tree / "tests_of_one_more.py").write_text("class Flat:\n    pass\n")
    used = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tree,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    assert used.stdout == "5 are used\n", used.stderr
    assert numstat(tree, files) == dict.fromkeys(LINES, (1, 0))


def numstat(tree: Path, files: list[str]) -> dict[str, tuple[int, int]]:
    """Return how many lines of each file that was there were added and removed, where any were."""
    changed = {}
    for name in filter(None, files):
        old, new = (REPO / name).read_bytes(), (tree / name).read_bytes()
        if old != new:
            marks = [line[0] for line in difflib.ndiff(old.decode().splitlines(), new.decode().splitlines())]
            changed[name] = (marks.count("+"), marks.count("-"))
    return changed


@pytest.mark.slow
def test_reading_a_recipe_imports_no_kind_that_takes_long():
    """Slow: it starts processes of Python."""
    code = "import sys; from rl.recipe.reader import load_recipe; load_recipe('recipes/shapes_grpo.yaml')"
    code += "; print(sorted({'ray', 'torch', 'diffusers', 'openai', 'verl'} & sys.modules.keys()))"
    read = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert read.stdout == "[]\n"
