"""The recount agrees with an honest bill, by numbers of its own, and not with a wrong one."""

import asyncio
import json
from dataclasses import replace

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.judge import start_judge
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import RetryPolicy
from actors.metered.service import Pooled
from actors.metered.usage_ledger import ANSWER, UsageLedger
from actors.store.append_log import AppendLog, read_log
from actors.store.ledger import Ledger
from actors.store.store import Store
from benchmarks.recount import recount
from rewards.compose import WeightedSum
from rollout.concurrency import all_of
from rollout.single_step import SingleStep
from rollout.types import GroupRequest, SamplingParams, Scores
from tests.support.fakes import FakeSampler, make_task
from tests.support.training import TERMS

NUM_TASKS, NUM_STEPS, N = 3, 2, 8


def score(before, after, instruction):
    return Scores(after.getpixel((0, 0))[0] / 25.5, 5.0)


class Painter:
    """A generator that is paid for each picture; its colour depends on prompt and seed."""

    def __init__(self, store, ledger):
        self.store = store
        self.calls = MeteredCalls(
            store, RetryPolicy(9.0, 1), Pooled(self._paint, 4), UsageLedger("generator", ledger, is_continued=False)
        )

    async def edit(self, request):
        depends_on = {"service": "generator", "before": "", "prompt": request.prompt, "seed": request.seed}
        return (await self.calls.get(depends_on, request))["image"]

    async def _paint(self, request):
        colour = (len(request.prompt) * 7 % 256, request.seed % 256, 0)
        return {"image": self.store.put_image(Image.new("RGB", (8, 8), colour))}


async def run(folder, store):
    """Roll two steps of the same tasks out, with everything paid for and written down."""
    folder.mkdir()
    painter = Painter(store, folder / "ledger")
    judge = await start_judge(
        JudgeConfig(scorer="tests.benchmarks.test_recount.score", num_replicas=0),
        store.root,
        ledger_folder=folder / "ledger",
    )
    step = SingleStep(
        FakeSampler(garbage=0.2), painter, judge, WeightedSum(tuple(TERMS)), "<image><image>", SamplingParams()
    )
    ledger = Ledger.open(folder / "ledger", store=store)
    after = store.put_image(Image.new("RGB", (8, 8)))
    for number in range(1, NUM_STEPS + 1):
        tasks = [replace(make_task(i), after=after) for i in range(NUM_TASKS)]
        requests = [GroupRequest(task, N, number, (i,), step=number) for i, task in enumerate(tasks)]
        groups = await all_of(map(step.roll_out, requests))
        for request, group in zip(requests, groups, strict=True):
            await ledger.record(request, group)
    counts = painter.calls.stats() | await judge.stats()
    totals = {key.replace("/", "_total/", 1): value for key, value in counts.items()}
    (folder / "metrics.jsonl").write_text(json.dumps({"step": NUM_STEPS, "policy/entropy": 1.25} | totals) + "\n")
    (folder / "recipe.yaml").write_text("{judge: {kind: embedded}, rollout: {baseline: record}}")


@pytest.fixture
def made(tmp_path):
    store = Store(tmp_path / "store")
    asyncio.run(run(tmp_path / "run", store))
    return tmp_path / "run", store.root


def test_what_was_paid_is_what_was_asked_once_each(made, capsys):
    assert recount(*made)
    said = capsys.readouterr().out
    images = [row["image"] for row in read_log(made[0] / "ledger", "samples") if row.get("image")]
    num_paid = sum(
        (row["service"], row["outcome"]) == ("generator", ANSWER) for row in read_log(made[0] / "ledger", "calls")
    )
    assert num_paid < len(images) / 2  # the same phrasings come back
    assert f"generator: {len(images)} images in {NUM_TASKS * NUM_STEPS * N} samples, {num_paid} distinct" in said
    assert f"of the distinct, {num_paid} were paid for by this run" in said
    assert "judge:" in said
    assert "epoch 2 of a task" in said
    assert "entropy 1.250" in said
    assert "WRONG" not in said


def test_what_an_earlier_run_paid_for_is_told_apart(made, capsys):
    first, store = made
    num_paid = sum(row["outcome"] == ANSWER for row in read_log(first / "ledger", "calls"))
    for number, num_lost in enumerate((0, 1)):
        for path in sorted((store / "calls").rglob("*.json"))[:num_lost]:
            path.unlink()
        later = first.parent / f"later-{number}"
        asyncio.run(run(later, Store(store)))
        capsys.readouterr()
        assert recount(later, store)
        said = capsys.readouterr().out
        assert said.count(f"paid {num_lost} answers") >= 1
        left = [int(line.split()[-1]) for line in said.splitlines() if "an earlier run left" in line]
        assert sum(left) == num_paid - num_lost


def _bill_again(ledger):
    AppendLog(ledger, "calls").append([next(iter(read_log(ledger, "calls")))])


def _lose_a_row(ledger):
    (log, *_) = sorted(ledger.glob("calls-*"))
    log.write_bytes(log.read_bytes()[:-10])


@pytest.mark.parametrize(("spoil", "told"), [(_bill_again, "paid twice: 1"), (_lose_a_row, "the metrics count")])
def test_a_wrong_bill_is_found(made, capsys, spoil, told):
    spoil(made[0] / "ledger")
    assert not recount(*made)
    assert any(told in line and "WRONG" in line for line in capsys.readouterr().out.splitlines())


def test_a_call_that_was_never_paid_for_is_found(made, capsys):
    row = next(row for row in read_log(made[0] / "ledger", "samples") if row.get("image"))
    row["critique"]["refine_prompt"] = "nobody paid"
    AppendLog(made[0] / "ledger", "samples").append([row])
    assert not recount(*made)
    assert "1 were not, and an earlier run left 0" in capsys.readouterr().out
