"""What a run asks its services for: each owner once, and the workers only where they count themselves."""

import asyncio
from dataclasses import replace

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from rl.stack import Stack, has_local_service
from tests.support.training import make_recipe


class Counted:
    """Anything with stats; it counts who asks."""

    def __init__(self, **stats):
        self.counts, self.num_asked = stats, 0

    async def stats(self):
        self.num_asked += 1
        return {key.replace("_", "/", 1): value for key, value in self.counts.items()}

    def own_stats(self):
        return {"rollout_workers/deaths": 1.0}


def test_owners_are_asked_once_and_workers_only_for_what_is_theirs():
    workers, samplers, journey = Counted(judge_calls=3.0), Counted(samplers_tokens=9.0), Counted(generator_calls=4.0)
    stack = Stack(None, samplers, journey, workers, None)
    told = {"rollout_workers/deaths": 1.0, "samplers/tokens": 9.0, "generator/calls": 4.0}
    assert asyncio.run(stack.stats()) == told
    assert (workers.num_asked, journey.num_asked) == (0, 1)
    assert asyncio.run(replace(stack, has_counts_in_workers=True).stats())["judge/calls"] == 3.0


def test_a_service_without_replicas_is_counted_in_the_workers(tmp_path):
    recipe = make_recipe(tmp_path, judge=JudgeConfig(scorer="a.b"))
    assert not has_local_service(recipe, {"looks": EvidenceConfig(fn="a.b")})
    assert has_local_service(recipe, {"looks": EvidenceConfig(fn="a.b", num_replicas=0)})
    assert has_local_service(replace(recipe, generator=GeneratorConfig(num_replicas=0)), {})
    members = [{"scorer": "a.b"}, {"scorer": "a.c", "num_replicas": 0}]
    assert has_local_service(replace(recipe, judge=JudgeConfig(kind="ensemble", members=members)), {})
    nested = [{"scorer": "a.b"}, {"kind": "ensemble", "members": members}]
    assert has_local_service(replace(recipe, judge=JudgeConfig(kind="ensemble", members=nested)), {})
