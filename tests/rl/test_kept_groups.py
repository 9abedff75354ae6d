"""Groups that no checkpoint holds: used by a resumed run as they were, and by no other."""

import asyncio
from dataclasses import replace

from actors.config import LossConfig
from actors.store.ledger import Ledger, read_ledger
from rewards.compose import WeightedSum
from rl.kept_groups import KeptGroups
from rl.recipe.config import AlgorithmConfig
from rollout.single_step import SingleStep
from rollout.types import GroupRequest, SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task
from tests.support.interrupted_run import learn_until
from tests.support.training import TERMS, make_recipe

AHEAD = {"max_staleness": 1, "algorithm": AlgorithmConfig(loss=LossConfig(rollout_correction="token"))}


class Maker:
    """Rolls out groups and counts them."""

    def __init__(self, **options):
        self.asked = []
        generator = FakeGenerator(**options)
        self._journey = SingleStep(
            FakeSampler(), generator, FakeJudge(), WeightedSum(TERMS), "<image><image>", SamplingParams()
        )

    async def __call__(self, request):
        self.asked.append((request.step, request.task.id))
        return await self._journey.roll_out(request)


def request_of(number, step=1, seed=3):
    return GroupRequest(make_task(number), 4, seed, (7,), step=step)


def kept_of(recipe, sources=None):
    return KeptGroups(recipe, Ledger.open(recipe.folder / "ledger"), sources)


def roll_out(kept, maker, requests):
    async def run():
        return [await kept.around(maker)(request) for request in requests]

    return asyncio.run(run())


def test_a_kept_group_is_what_was_made_and_is_in_the_ledger_once(tmp_path):
    recipe = make_recipe(tmp_path, **AHEAD)
    first, second = Maker(), Maker()
    requests = [request_of(number, step) for step in (1, 2) for number in range(3)]
    made = roll_out(kept_of(recipe), first, requests)
    again = kept_of(recipe)
    assert again.count() == 6
    assert roll_out(again, second, requests) == made
    assert second.asked == []
    assert len(list(read_ledger(tmp_path / "ledger"))) == 6 * 4


def test_another_request_or_recipe_has_its_own(tmp_path):
    recipe = make_recipe(tmp_path, **AHEAD)
    roll_out(kept_of(recipe, {"judge": "a"}), Maker(), [request_of(1)])

    def is_made(recipe, request, sources):
        maker = Maker()
        roll_out(kept_of(recipe, sources), maker, [request])
        return maker.asked != []

    assert is_made(recipe, request_of(1, seed=4), {"judge": "a"})
    assert is_made(recipe, request_of(1, step=2), {"judge": "a"})
    assert is_made(recipe, request_of(1), {"judge": "b"})
    assert is_made(replace(recipe, max_pixels=999), request_of(1), {"judge": "a"})
    assert not is_made(replace(recipe, num_cpus=2), request_of(1), {"judge": "a"})


def test_a_failed_sample_is_tried_again(tmp_path):
    recipe = make_recipe(tmp_path, **AHEAD)
    roll_out(kept_of(recipe), Maker(failing=1.0), [request_of(1)])
    assert kept_of(recipe).count() == 0


def test_a_full_disk_costs_no_more_than_what_would_have_been_kept(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rl.kept_groups.atomic_write", full)
    [group] = roll_out(kept_of(make_recipe(tmp_path, **AHEAD)), Maker(), [request_of(1)])
    assert group.rewards


def test_a_torn_file_is_made_again(tmp_path):
    recipe = make_recipe(tmp_path, **AHEAD)
    roll_out(kept_of(recipe), Maker(), [request_of(1)])
    [path] = tmp_path.glob("groups/step_000001/*.npz")
    for content in (path.read_bytes()[:100], b"", path.read_bytes()[:-40]):
        path.write_bytes(content)
        maker = Maker()
        roll_out(kept_of(recipe), maker, [request_of(1)])
        assert maker.asked


def test_what_a_checkpoint_has_learned_from_goes(tmp_path):
    recipe = make_recipe(tmp_path, **AHEAD)
    kept = kept_of(recipe)
    roll_out(kept, Maker(), [request_of(1, step) for step in (1, 2, 3)])
    learn_until(tmp_path, 2)
    assert kept.count() == 1
    roll_out(kept, Maker(), [request_of(1, 4)])
    assert sorted(path.name for path in tmp_path.glob("groups/step_*")) == ["step_000003", "step_000004"]
