"""What can be told of a reward function before its first call."""

import types
from collections.abc import Awaitable

import pytest

from rewards.functions.import_path import FunctionError, anchored
from rewards.needs import needs
from rewards.signature import RewardSignature, no_rewards, reward_names, signature_of
from rollout.types import Evidence


def plain(evidence: Evidence) -> float:
    return 0.0


async def patient(evidence: Evidence) -> float:
    return 0.0


@needs("aesthetic", "ocr")
def looking(evidence, scale=2.0):
    return scale


def yielding(evidence):
    yield 1.0


def asking_for_more(evidence, target):
    return 0.0


def nothing_asked():
    return 0.0


def verdict(evidence: Evidence) -> bool:
    return True


def handing_on(evidence: Evidence) -> Awaitable[float]:
    return patient(evidence)


def mistaken(evidence):
    return 0.0


vars(mistaken)["needs"] = "aesthetic"


class Stateful:
    async def __call__(self, evidence: Evidence) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("function", "traits"),
    [
        (plain, RewardSignature(False)),
        (patient, RewardSignature(True)),
        (looking, RewardSignature(False, ("aesthetic", "ocr"))),
        (Stateful(), RewardSignature(True)),
        (lambda evidence: 0.0, RewardSignature(False)),
    ],
)
def test_sync_or_async_and_what_it_looks_at(function, traits):
    assert signature_of(function) == traits


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (yielding, "is a generator"),
        (asking_for_more, r"takes \(evidence, target\); it is given the evidence alone"),
        (nothing_asked, r"takes \(\)"),
        (verdict, "is declared to return bool; a reward is a float"),
        (handing_on, r"returns Awaitable\[float\]: declare it with `async def`"),
        (mistaken, "its needs are 'aesthetic', expected names like"),
        (Stateful, "is a class"),
    ],
)
def test_what_can_be_no_reward_is_refused(function, message):
    with pytest.raises(FunctionError, match=message):
        signature_of(function)


def test_the_rewards_of_a_module_are_its_own_public_ones():
    module = types.ModuleType(__name__)
    vars(module).update({f.__name__: f for f in (plain, patient, looking, verdict, nothing_asked, needs)})
    vars(module).update(_hidden=plain, Evidence=Evidence, traits_of=signature_of)
    assert reward_names(module) == ["plain", "patient", "looking"]
    assert no_rewards(module) == {
        "verdict": "it is declared to return bool",
        "nothing_asked": "it takes (), not the evidence alone",
    }


def test_a_file_is_anchored_where_it_lies(tmp_path):
    (tmp_path / "mine.py").touch()
    assert anchored("./mine.py:f", tmp_path) == f"{tmp_path}/mine.py:f"
    assert anchored("./other.py:f", tmp_path) == "./other.py:f"
    assert anchored("mine.f", tmp_path) == "mine.f"
