"""Which parts run, in which order and over how many starts, on parts that only say that they were done."""

import pytest
from rich.console import Console

from actors.losses.lost import ComponentLost
from rl.ablation.plan import Kind
from rl.ablation.run import run_parts, time_left
from rollout.roles import BudgetSpent, RunStopped
from tests.support.ablations import planned

ALL = [
    "stories sft",
    *("train full-seed0", "stories full-seed0", "train no_step-seed0", "stories no_step-seed0"),
    *("train full-seed1", "stories full-seed1"),
]


class Work:
    """Notes the parts that it is given; some end as told, and each takes a minute, a training ten."""

    def __init__(self, **ends):
        self.ends = {name.replace("_", " ", 1): end for name, end in ends.items()}
        self.done, self.now, self.tables = [], 0.0, []

    def __call__(self, part):
        self.done.append(str(part))
        self.now += 600 if part.kind is Kind.TRAIN else 60
        if isinstance(end := self.ends.get(str(part), True), BaseException):
            raise end
        return end

    def run(self, plan, console=None):
        self.done, self.tables = [], []
        console = console or Console(quiet=True)
        return run_parts(plan, self, console, after_each=self.tables.append, clock=lambda: self.now)


@pytest.fixture
def plan(tmp_path):
    return planned(tmp_path)


def test_every_part_is_done_once_whatever_the_number_of_starts(plan):
    work = Work(**{"train_no_step-seed0": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        work.run(plan)
    assert work.done == ALL[:4]
    assert len(work.tables) == 3
    work.ends.clear()
    assert work.run(plan) == {}
    assert work.done == ALL[3:]
    work.run(plan)
    assert work.done == []


def test_a_training_that_stops_costs_the_others_nothing_and_is_tried_again(plan):
    work, console = Work(**{"train_full-seed0": RunStopped("the judge is down")}), Console(record=True, width=200)
    assert work.run(plan, console) == {"full-seed0": "the judge is down"}
    assert work.done == [part for part in ALL if part != "stories full-seed0"]
    assert "train full-seed0 stopped: the judge is down" in console.export_text()
    work.ends.clear()
    assert work.run(plan) == {}
    assert work.done == ["train full-seed0", "stories full-seed0"]


def test_a_training_that_lost_a_process_goes_on_once_after_the_others(plan):
    work, console = Work(**{"train_full-seed0": ComponentLost("rank 1 died")}), Console(record=True, width=200)
    assert work.run(plan, console) == {"full-seed0": "rank 1 died"}
    assert work.done == [ALL[0], ALL[1], *ALL[3:], ALL[1]]
    assert console.export_text().count("train full-seed0 stopped: rank 1 died") == 2
    work.ends.clear()
    assert work.run(plan) == {}
    assert work.done == ALL[1:3]


def test_what_goes_on_after_the_others_is_told_of_as_well(plan):
    class Once(Work):
        def __call__(self, part):
            if self.done.count("train full-seed0"):
                self.ends.clear()
            return super().__call__(part)

    work = Once(**{"train_full-seed0": ComponentLost("rank 1 died")})
    assert work.run(plan) == {}
    assert work.done == [ALL[0], ALL[1], *ALL[3:], *ALL[1:3]]


def test_a_spent_budget_ends_all(plan):
    work = Work(**{"train_full-seed0": BudgetSpent("20 of 20 calls are made")})
    with pytest.raises(BudgetSpent):
        work.run(plan)
    assert work.done == ALL[:2]


def test_what_is_left_is_told_by_the_parts_that_are_done(plan):
    parts, console = plan.parts, Console(record=True, width=200)
    assert time_left(parts) == "7 parts left"
    Work().run(plan, console)
    told = console.export_text()
    assert "part 1 of 7  stories sft  7 parts left" in told
    assert "part 2 of 7  train full-seed0  done after 10 minutes" in told
    assert "part 4 of 7  train no_step-seed0  about 22 minutes left" in told
    assert time_left(parts) == "nothing left"


def test_the_time_of_a_part_that_went_on_tells_nothing_of_the_others(plan):
    work = Work(**{"train_full-seed0": False, "train_no_step-seed0": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        work.run(plan)
    assert plan.part(Kind.TRAIN, "full-seed0").is_done
    assert time_left(plan.parts) == "4 parts left"
