"""The best split of GPUs over the roles.

Slow: each test simulates schedules of many splits.
"""

import pytest

from rl.plan.cards import card_of
from rl.plan.devices import Devices
from rl.plan.memory import Part, RoleMemory
from rl.plan.splits import Split, best_split, split_of
from rl.plan.stage_times import Spread, Work
from rl.plan.stages import Stages
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe():
    return load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["max_staleness=0"])


def devices(gpus=8):
    return Devices(1, gpus, card_of("H100"), 16)


def stages_of(sample=8.0, image=0.1, update=16.0):
    """Return times where an update halves with twice the ranks, and sampling with twice the samplers."""

    def of(recipe):
        spreads = {
            Work.SAMPLE: Spread(sample / recipe.samplers.num_samplers),
            Work.GENERATE: Spread(image),
            Work.UPDATE: Spread(update / recipe.policy.num_ranks),
            Work.PUBLISH: Spread(0.1),
        }
        return Stages(spreads, 1.0)

    return of


def small(recipe):
    return []


def best(recipe, devices, stages_of, memory_of=small):
    """Return the best split and its prediction, where there is one."""
    found = best_split(recipe, devices, stages_of, memory_of)
    assert found is not None
    return found


def test_gpus_go_where_the_time_is(recipe):
    """Slow: seconds of computing."""
    split, _ = best(recipe, devices(), stages_of(sample=1.0, image=0.01, update=60.0))
    assert split == Split(6, 1, 1)
    split, _ = best(recipe, devices(), stages_of(sample=1.0, image=1.0, update=2.0))
    assert split.generators == 6
    split, found = best(recipe, devices(), stages_of(sample=60.0, image=0.01, update=1.0))
    assert split.samplers == 6
    assert found.step_s == pytest.approx(60 / 6 + 128 * 0.01 + 1 + 0.1, rel=0.05)


def test_a_split_that_memory_has_no_room_for_is_not_taken(recipe):
    def memory(recipe):
        return [RoleMemory("policy", (Part("weights", 100 // recipe.policy.num_ranks),), limit=30)]

    split, _ = best(recipe, devices(), stages_of(image=5.0), memory)
    assert split.ranks == 4
    assert best_split(recipe, devices(5), stages_of(image=5.0), memory) is None


def test_a_split_is_the_recipes_as_overrides(recipe, tmp_path):
    split = Split(5, 1, 2)
    again = load_recipe(REPO / "recipes" / "critic_grpo.yaml", str(split).split())
    assert split_of(again) == split == split_of(split.applied(recipe))


def test_what_cannot_divide_is_left_out(recipe):
    overrides = ["max_staleness=0", "policy.num_ranks=4", "policy.sequence_parallel=2"]
    long = load_recipe(REPO / "recipes" / "critic_grpo.yaml", overrides)
    split, _ = best(long, devices(), stages_of(sample=1.0, image=0.01, update=60.0))
    assert split.ranks == 6
    split, _ = best(long, devices(7), stages_of(sample=1.0, image=0.01, update=60.0))
    assert split.ranks == 4


def test_samplers_that_take_turns_with_ranks_take_no_gpu_of_their_own():
    overrides = ["placement=colocate", "max_staleness=0", "policy.num_ranks=4", "samplers.num_samplers=4"]
    shared = load_recipe(REPO / "recipes" / "critic_grpo.yaml", overrides)
    split, _ = best(shared, devices(), stages_of(sample=16.0, image=1.0, update=16.0))
    assert split.samplers <= split.ranks
    assert split.ranks + split.generators == 8


def test_generators_elsewhere_take_no_gpu(recipe):
    elsewhere = ["generator.name=gpt-image", "generator.gpus_per_replica=0", "samplers.max_num_seqs=128"]
    elsewhere += ["max_staleness=0", "generator.num_replicas=2"]
    away = load_recipe(REPO / "recipes" / "critic_grpo.yaml", elsewhere)
    split, _ = best(away, devices(), stages_of(sample=1.0, image=0.01, update=60.0))
    assert split == Split(7, 1, 2)


def test_without_gpus_there_is_nothing_to_split(recipe):
    assert best_split(recipe, devices(0), stages_of(), small) is None
    shapes = load_recipe(REPO / "recipes" / "shapes_grpo.yaml")
    assert best_split(shapes, devices(), stages_of(), small) is None
