"""A reward is tried on the built-in samples before anything starts; what they lack is no fault of it.

Slow: each reward has a process of its own.
"""

import asyncio
import pickle
from pathlib import Path

import pytest

from actors.config import EvidenceConfig, JudgeConfig
from rewards.compose import RewardError, TermConfig
from rewards.functions.sample_cases import LACKING, PartialEvidence
from rl.check_reward import try_reward
from rollout.types import Scores, Task

pytestmark = pytest.mark.slow

REWARDS = """
import time
from pathlib import Path

from rewards.needs import needs


def good(evidence):
    return 0.0 if evidence.critique is None else 1.0


async def good_too(evidence):
    return 0.5


def misspelt(evidence):
    return evidnce.scores.mean


def unguarded(evidence):
    return len(evidence.critique.refine_prompt) / 100


def nan_without_image(evidence):
    return evidence.scores.mean if evidence.scores else float("nan")


def text(evidence):
    return "good"


def hangs(evidence):
    time.sleep(60)


def dies(evidence):
    import os

    os._exit(3)


def undeclared(evidence):
    return evidence.extra["aesthetic"]["score"] if evidence.image else 0.0


@needs("aesthetic")
def beauty(evidence):
    return evidence.extra["aesthetic"]["score"] if evidence.image else 0.0


@needs("aesthetic")
def all_of_it(evidence):
    return sum(one["score"] for one in evidence.extra.values()) / len(evidence.extra) if evidence.image else 0.0


@needs("aesthetic")
def careless_beauty(evidence):
    return evidence.extra["aesthetic"]["score"]


@needs("second")
def agreement(evidence):
    return evidence.extra["second"].mean / 10 if evidence.image else 0.0


def reads_pictures(evidence):
    return float(len(Path(evidence.image or evidence.task.after).read_bytes()) > 0)


def knows_its_instructions(evidence):
    return {"draw a red box": 1.0, "draw a blue box": 0.5}[evidence.task.instruction]
"""


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(REWARDS)
    return file


def tasks(folder: Path) -> list[Task]:
    picture = folder / "after.png"
    picture.write_bytes(b"a picture")
    return [
        Task(f"t{is_success}", instruction, "", None, str(picture), is_success, Scores(4, 4))
        for is_success, instruction in ((True, "draw a red box"), (False, "draw a blue box"))
    ]


def attempt(mine, *names, own=True, timeout_s=10.0, **evidence):
    """Return the needed evidence, or the refusal's lines."""
    terms = [TermConfig(name if "." in name else f"{mine}:{name}", timeout_s=timeout_s) for name in names]
    given = {
        "aesthetic": EvidenceConfig(fn="mine.aesthetic"),
        "second": EvidenceConfig(judge=JudgeConfig(kind="openai", model="m")),
    }

    def needed(traits):
        return {name: given[name] for one in traits.values() for name in one.needs}

    try:
        return asyncio.run(try_reward(terms, needed, tasks(mine.parent) if own else []))
    except ValueError as error:
        return str(error).splitlines()


def test_good_rewards_are_taken(mine):
    assert attempt(mine, "good", "good_too", "rewards.format.is_parsed", "rewards.stepwise.semantic_gain") == {}


FAILING = [
    ("misspelt", "perfect fix", "raised NameError"),
    ("unguarded", "unparsable: prose", "raised AttributeError"),
    ("nan_without_image", "right verdict, good record", "returned nan, expected a finite number"),
    ("text", "perfect fix", "returned 'good', expected a finite number"),
    ("undeclared", "perfect fix", "raised KeyError: 'aesthetic'"),
    ("dies", "perfect fix", "its process died (exit code 3)"),
]


@pytest.mark.parametrize("own", [True, False])
def test_rewards_that_fail_are_named_with_sample_and_error(mine, own):
    lines = attempt(mine, "good", *(name for name, _, _ in FAILING), own=own)
    for line, (name, sample, error) in zip(lines, FAILING, strict=True):
        assert line.startswith(f"reward term {mine}:{name} fails on the built-in sample {sample!r}: ")
        assert error in line
        assert "reward.probe=false" in line


def test_one_that_hangs_is_waited_for_once(mine):
    [line] = attempt(mine, "hangs", timeout_s=0.5)
    assert "no answer within 0.5 s" in line


def test_all_that_fail_are_named(mine):
    assert len(attempt(mine, "text", "good", "misspelt")) == 2


@pytest.mark.parametrize(
    "names", [["beauty"], ["all_of_it"], ["beauty", "undeclared"], ["agreement"], ["agreement", "beauty"]]
)
def test_evidence_that_no_sample_has_is_no_fault(mine, names):
    assert isinstance(attempt(mine, *names), dict)


def test_evidence_is_missing_where_no_image_was_made_in_a_run_too(mine):
    [line] = attempt(mine, "careless_beauty")
    assert "'right verdict, good record': raised KeyError: 'aesthetic'" in line


@pytest.mark.parametrize("name", ["reads_pictures", "knows_its_instructions"])
def test_a_reward_that_knows_the_runs_own_data_alone_is_tried_on_that(mine, name):
    assert attempt(mine, name) == {}
    assert len(attempt(mine, name, own=False)) == 1


def test_a_reward_that_is_not_there_is_said_as_before(mine):
    with pytest.raises(RewardError, match="has no nothing"):
        asyncio.run(try_reward([TermConfig(f"{mine}:nothing")], lambda traits: {}, []))


def test_partial_evidence_knows_what_it_lacks():
    extra = pickle.loads(pickle.dumps(PartialEvidence({"a": 1}, ("b",))))
    assert (extra["a"], extra.get("a"), extra.get("c", 3), "b" in extra, len(extra)) == (1, 1, 3, True, 2)
    for look in (lambda: extra["b"], lambda: extra.get("b"), lambda: list(extra), lambda: dict(extra), extra.items):
        with pytest.raises(LookupError, match=LACKING):
            look()
    with pytest.raises(KeyError):
        extra["c"]
