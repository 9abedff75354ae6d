"""Whole evaluations of a benchmark, killed, resumed and compared. Slow: each makes and judges all of it."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from rich.console import Console

from actors.metered.retry import CallError, Fault
from actors.store.append_log import read_log
from actors.store.ledger import CALLS
from evals.official.benchmark import Output
from rl.official.outputs import OutputLog, Telling, make_outputs
from rl.official.prepare import estimate, left_of, paid, prepare_official, spread
from rl.official.report import FIGURES, judge_folder, other_scores
from rl.official.run import outputs_of, score
from rollout.roles import BudgetSpent, RunStopped
from tests.support.benchmark_data import parrot
from tests.support.fake_asker import FakeAsker
from tests.support.official_run import MODEL, USD, carry_out, committed, prepared
from tests.support.storytelling import StorePainter, Stumbling, storyline

pytestmark = pytest.mark.slow


def figures(run, model=MODEL):
    return json.loads((judge_folder(run.out, model) / FIGURES).read_text())


def ignore(call):
    pass


class Killed(BaseException):
    """A kill, as far as a test without processes can play one."""


class Dies:
    """Hears of calls, and ends everything at one of them."""

    def __init__(self, at: int):
        self.at = at
        self.calls: list[str] = []

    def __call__(self, call: str) -> None:
        if len(self.calls) >= self.at:
            raise Killed
        self.calls.append(call)


@pytest.fixture
def run(tmp_path):
    return prepared(tmp_path)


def test_a_run_hands_in_and_writes_figures(run, tmp_path, capsys):
    console = Console(force_terminal=False, width=120)
    asyncio.run(carry_out(run, ignore, console=console))
    found = figures(run)
    assert len(json.loads((run.out / "submission/model_outputs.json").read_text())) == 13
    assert set(found["scores"]) == {str(number) for number in range(1, 14)} - {"9"}
    assert found["ours"]["failed"]["9"].startswith("unreadable: no JSON object in the answer 'no idea'")
    assert found["ours"]["notes"] == {"not sure": 1, "1": 1, "None": 1}
    assert found["headline"] in capsys.readouterr().out
    assert "failed 1 of 13" in found["headline"]
    assert found["headline"] in (run.out / "figures.html").read_text()


def test_a_second_run_pays_nothing_and_finds_the_same(run, tmp_path):
    asyncio.run(carry_out(run, ignore))
    first, calls = figures(run), []
    asyncio.run(carry_out(prepared(tmp_path), calls.append))
    assert calls == []
    assert figures(run) == first


def test_a_run_that_is_killed_anywhere_goes_on_without_paying_twice(tmp_path):
    whole = prepared(tmp_path / "whole")
    calls: list[str] = []
    asyncio.run(carry_out(whole, calls.append))
    expected, rng = figures(whole), random.Random(0)
    for attempt in range(2):
        folder = tmp_path / f"{attempt}"
        before: set[str] = set()
        for at in sorted(rng.sample(range(len(calls)), 3)):
            dies, run = Dies(at - len(before)), prepared(folder)
            with pytest.raises(Killed):
                asyncio.run(carry_out(run, dies))
            assert not before & set(dies.calls)
            before |= committed(run, dies.calls)
        rest: list[str] = []
        run = prepared(folder)
        asyncio.run(carry_out(run, rest.append))
        assert not before & set(rest)
        assert before | set(rest) == set(calls)
        assert [figures(run)[key] for key in ("official", "ours", "scores")] == [
            expected[key] for key in ("official", "ours", "scores")
        ]


def test_a_budget_stops_before_it_is_exceeded_and_is_gone_on_from(run, tmp_path):
    calls: list[str] = []
    with pytest.raises(BudgetSpent):
        asyncio.run(carry_out(run, calls.append, budget_usd=left_of(10.5 * USD, run.out, "judge", USD)))
    num_paid = len([call for call in calls if call.startswith("answer")])
    assert num_paid == 10
    with pytest.raises(BudgetSpent, match=r"a call of generator may cost 0\.01 US dollars"):
        left_of(0.105, run.out, "generator", USD)
    spent = left_of(0.105, run.out, "judge", USD)
    with pytest.raises(BudgetSpent):
        asyncio.run(carry_out(run, calls.append, budget_usd=spent))
    assert len([call for call in calls if call.startswith("answer")]) == num_paid
    assert left_of(1.0, run.out, "judge", USD) == pytest.approx(1 - USD)
    assert left_of(1.0, run.out, "generator", USD) == pytest.approx(1 - USD - num_paid * USD)
    asyncio.run(carry_out(run, calls.append, budget_usd=left_of(1.0, run.out, "judge", USD)))
    assert len(set(calls)) == len(calls)
    asyncio.run(carry_out(run, calls.append, budget_usd=left_of(0.105, run.out, "judge", USD)))
    assert len(set(calls)) == len(calls), "what was asked before needs no budget"


def test_what_failed_is_told_with_its_reason_and_done_again(tmp_path, run):
    def down(question):
        raise CallError(Fault("timeout", "no answer in time"))

    outputs = dict.fromkeys((item.id for item in run.items), Output(("a text",)))

    run = replace(run, max_failure_share=1.0)

    def judge_by(asker):
        asyncio.run(score(run, outputs, asker, Console(quiet=True), say=lambda *_: None))
        return figures(run)

    assert set(judge_by(FakeAsker(down))["ours"]["failed"]) == {item.id for item in run.items}
    assert "not answered: timeout: no answer in time" in judge_by(FakeAsker(down))["ours"]["failed"]["1"]
    assert figures(run)["headline"].endswith("failed 13 of 13 · over the answered none")
    assert set(judge_by(FakeAsker(parrot))["ours"]["failed"]) == {"9"}


def test_a_failed_story_is_told_again(run):
    log, store, items = OutputLog(run.out), run.store, run.items[:3]

    def made(tell):
        return asyncio.run(make_outputs(items, Telling(tell, run.benchmark.form), log, store, say=lambda *_: None))

    down = made(storyline(generator=Stumbling("draw a head")).tell)
    assert {output.error for output in down.values()} == {"step 1 has no image: GeneratorError: out of memory"}
    up = made(storyline(generator=StorePainter(store)).tell)
    assert [(output.error, len(output.images)) for output in up.values()] == [(None, 2)] * 3
    assert up["1"].text == "a head\n\nThen the body."


def test_an_output_whose_image_is_gone_is_made_again(run):
    asyncio.run(carry_out(run, ignore))
    store, log = run.store, OutputLog(run.out)
    store.image_path(log.read(store)["1"].images[0]).unlink()
    assert "no longer in" in str(log.read(store)["1"].error)
    calls: list[str] = []
    asyncio.run(carry_out(run, calls.append))
    assert [call for call in calls if call.startswith("story")] == [f"story {item.id}" for item in run.items]


def test_a_spent_generator_budget_ends_the_run(run):
    spent = Stumbling("draw a head", error=BudgetSpent("the budget of generator is spent: 1.00 of 1.00; raise it"))
    with pytest.raises(BudgetSpent, match="the budget of generator is spent"):
        asyncio.run(outputs_of(run, OutputLog(run.out), storyline(generator=spent).tell, lambda *_: None))
    assert {request.prompt for request in spent.requests} == {"draw a head"}
    assert len(spent.requests) <= 5 * len(run.items)
    assert OutputLog(run.out).read(run.store) == {}


def test_two_judges_of_the_same_outputs_are_compared(run, tmp_path):
    asyncio.run(carry_out(run, ignore))
    other = prepared(tmp_path, "model=other parrot")
    asyncio.run(carry_out(other, ignore))
    found = figures(other, "other parrot")["judges"][MODEL]
    assert (found["share_same"], found["kappa"]) == (1.0, 1.0)
    assert (run.out / "figures.html").read_text().count("<h2>") == 2


def test_two_agents_are_compared_by_item(run, tmp_path):
    asyncio.run(carry_out(run, ignore))
    other = prepared(tmp_path, out="other")
    outputs = dict.fromkeys((item.id for item in run.items), Output(("a text",)))
    reply = FakeAsker(lambda question: {"text": '{"criteria_met": false}'})
    asyncio.run(score(other, outputs, reply, Console(quiet=True), say=lambda *_: None, against=run.out))
    gap = figures(other)["against"]
    assert gap["high"] < 0
    with pytest.raises(ValueError, match="has no figures of the judge nobody"):
        other_scores(run.out, "ueval", "nobody")
    with pytest.raises(ValueError, match="is a run of ueval, not of wise"):  # whose items may have the same ids
        other_scores(run.out, "wise", MODEL)


def test_a_folder_goes_on_with_the_agent_that_it_began_with(run, tmp_path):
    asyncio.run(carry_out(run, ignore))
    again = replace(run.recipe, tries=4)
    with pytest.raises(ValueError, match=r"was started with a different tries .* choose another --out"):
        prepare_official(run.benchmark, again, tmp_path / "data", judge=run.judge, prompts=tmp_path / "checkout")
    prepare_official(run.benchmark, again, tmp_path / "data", judge=None, prompts=None, accepted=["tries"])
    file = tmp_path / "data/test-00000.jsonl"
    file.write_text(file.read_text().replace('Tell story 1"', 'Tell another"'))
    with pytest.raises(ValueError, match=r"was started with a different data\.items"):
        prepared(tmp_path)


def test_scoring_says_what_to_get(run, tmp_path):
    with pytest.raises(ValueError, match=r"git clone https://github\.com/zlab-princeton/UEval") as error:
        prepare_official(run.benchmark, run.recipe, tmp_path / "data", judge=run.judge, prompts=None)
    assert "--submit-only" in str(error.value)
    without = prepare_official(run.benchmark, run.recipe, tmp_path / "data", judge=None, prompts=None)
    assert estimate(without) == ["13 of 13 items of UEval"]


def test_items_of_one_id_are_refused(run, tmp_path):
    file = tmp_path / "data/test-00000.jsonl"
    file.write_text(file.read_text() + file.read_text().splitlines()[0])
    with pytest.raises(ValueError, match="1 of 14 items of UEval have another one's id"):
        prepared(tmp_path)


def test_the_estimate_tells_questions_and_price(run):
    last = estimate(run)[-1]
    assert last.startswith("33 questions to parrot of about ")
    assert "US dollars" in last


def test_a_limit_takes_items_evenly(run):
    assert [item.id for item in spread(run.items, 4)] == ["1", "4", "7", "10"]
    assert spread(run.items, 0) == spread(run.items, 99) == run.items


def test_answers_are_texts_in_the_ledger(run):
    asyncio.run(carry_out(run, ignore))
    rows = list(read_log(run.out / "ledger", CALLS))
    assert {row["outcome"] for row in rows} == {"answer"}
    assert paid(run.out) == {"judge": pytest.approx(USD * len(rows))}


def test_an_outage_ends_the_run_before_anybody_is_paid_for_it(run):
    items, told = [replace(run.items[0], id=str(number)) for number in range(100)], []
    down = storyline(generator=Stumbling("draw a head"))

    async def tell(request):
        told.append(request.id)
        return await down.tell(request)

    telling = Telling(tell, run.benchmark.form, at_once=4, max_failure_share=0.5)
    with pytest.raises(RunStopped, match=r"^20 of 20 outputs failed, the last one: step 1 has no image"):
        asyncio.run(make_outputs(items, telling, OutputLog(run.out), run.store, lambda *_: None))
    assert len(told) <= 24


def test_a_judge_that_is_down_ends_the_run(run):
    def down(question):
        raise CallError(Fault("timeout", "no answer in time"))

    outputs = dict.fromkeys((item.id for item in run.items), Output(("a text",)))
    run = replace(run, max_failure_share=0.5)
    with pytest.raises(RunStopped, match=r"^20 of 20 answers failed, the last one: not answered: timeout"):
        asyncio.run(score(run, outputs, FakeAsker(down), Console(quiet=True), say=lambda *_: None))


def test_a_run_that_is_killed_by_the_system_goes_on(tmp_path):
    """Slow: processes are started and killed with SIGKILL, which no test within one process can play."""
    whole = prepared(tmp_path / "whole")
    asyncio.run(carry_out(whole, ignore))
    folder, rng = tmp_path / "killed", random.Random(1)
    folder.mkdir()
    run, before, command = prepared(folder), set(), [sys.executable, "-m", "tests.support.official_run", str(folder)]

    def calls():
        path = folder / "calls.txt"
        return [eval(line) for line in path.read_text().splitlines()] if path.exists() else []

    for kill in range(4):
        num_before, num_left = len(calls()), rng.randint(2, 14)
        child = subprocess.Popen(command)
        if kill < 3:
            while len(calls()) < num_before + num_left and child.poll() is None:
                time.sleep(0.001)
            os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not before & set(calls()[num_before:])
        before |= committed(run, calls())
    assert child.returncode == 0
    assert [figures(run)[key] for key in ("official", "ours", "scores")] == [
        figures(whole)[key] for key in ("official", "ours", "scores")
    ]
