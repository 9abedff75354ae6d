"""Who is where, and who lacks what."""

from actors.config import GeneratorConfig, JudgeConfig, PolicyConfig, RolloutWorkersConfig, SamplerConfig
from actors.resources import Role
from rl.plan.cards import card_of
from rl.plan.devices import Devices
from rl.plan.placement import place

ROLES: dict[str, Role] = {
    "policy": PolicyConfig(model="m", num_ranks=4, gpus_per_rank=1),
    "samplers": SamplerConfig(num_samplers=2, gpus_per_sampler=1),
    "generator": GeneratorConfig("flux2-klein", num_replicas=2, gpus_per_replica=1),
    "workers": RolloutWorkersConfig(),
}


def devices(gpus, nodes=1):
    return Devices(nodes, gpus, card_of("H100"), 16)


def on(placement, key):
    return [(one.node, one.gpus) for one in placement.placed if one.key == key]


def test_every_role_has_gpus_of_its_own():
    found = place(ROLES, devices(8))
    assert on(found, "policy.num_ranks") == [(0, (0, 1, 2, 3))]
    assert on(found, "samplers.num_samplers") == [(0, (4, 5))]
    assert on(found, "generator.num_replicas") == [(0, (6, 7))]
    assert on(found, "workers.num_workers") == [(0, ())]
    assert (found.lacks, found.num_gpus) == ((), 8)


def test_a_colocated_role_is_on_the_gpus_of_ranks():
    found = place(ROLES, devices(6), ("samplers",))
    assert on(found, "samplers.num_samplers") == [(0, (0, 1))]
    assert on(found, "generator.num_replicas") == [(0, (4, 5))]
    assert (found.lacks, found.num_gpus) == ((), 6)
    two_nodes = place(
        {**ROLES, "samplers": SamplerConfig(num_samplers=4, gpus_per_sampler=1)}, devices(3, 2), ("samplers",)
    )
    assert on(two_nodes, "samplers.num_samplers") == on(two_nodes, "policy.num_ranks")


def test_a_role_without_room_says_what_it_lacks():
    found = place(ROLES, devices(5))
    assert [str(lack) for lack in found.lacks] == [
        "samplers.num_samplers=2 with samplers.gpus_per_sampler=1: 1 of 2 have a place; the others lack 1 GPU each, "
        "1 in all",
        "generator.num_replicas=2 with generator.gpus_per_replica=1: 0 of 2 have a place; the others lack 1 GPU each, "
        "2 in all",
    ]


def test_roles_go_on_over_nodes():
    found = place(ROLES, devices(3, nodes=3))
    assert on(found, "policy.num_ranks") == [(0, (0, 1, 2)), (1, (0,))]
    assert on(found, "generator.num_replicas") == [(2, (0, 1))]
    assert not found.lacks


def test_an_engine_of_several_gpus_stays_on_a_node():
    roles: dict[str, Role] = {"samplers": SamplerConfig(num_samplers=3, gpus_per_sampler=2)}
    found = place(roles, devices(3, nodes=2))
    assert on(found, "samplers.num_samplers") == [(0, (0, 1)), (1, (0, 1))]
    assert found.lacks[0].num_placed == 2
    assert found.lacks[0].gpus == 2


def test_shares_of_a_gpu_are_put_together_and_leave_whole_ones():
    roles: dict[str, Role] = {
        "generator": GeneratorConfig("flux2-klein", num_replicas=2, gpus_per_replica=0.5),
        "policy": PolicyConfig(model="m", num_ranks=1, gpus_per_rank=1),
    }
    found = place(roles, devices(2))
    assert on(found, "generator.num_replicas") == [(0, (1, 1))]
    assert on(found, "policy.num_ranks") == [(0, (0,))]
    assert not found.lacks


def test_a_judge_of_the_runs_own_takes_its_gpus():
    roles: dict[str, Role] = {"judge": JudgeConfig("vllm", model="m", num_replicas=2), "policy": ROLES["policy"]}
    assert place(roles, devices(6)).num_gpus == 6
    assert [lack.demand.key for lack in place(roles, devices(5)).lacks] == ["policy.num_ranks"]
