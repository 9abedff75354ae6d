"""What a recipe's roles ask Ray for, and what is said where there is less."""

from dataclasses import replace

import pytest

from actors.config import (
    EvidenceConfig,
    GeneratorConfig,
    ImageServerConfig,
    JudgeConfig,
    PolicyConfig,
    RolloutWorkersConfig,
    SamplerConfig,
)
from actors.judge.config import ServerConfig
from actors.resources import Demand, Role, check_colocation, check_room, demands_of, gpus_of, needs_ray

IMAGES = ImageServerConfig(command="serve {model} {host} {port}", gpus=4)
POLICY = PolicyConfig(model="m", num_ranks=8, gpus_per_rank=1)


def room(roles, cpus=16.0, gpus=0.0, colocated=()):
    check_room(roles, cpus=cpus, gpus=gpus, where="this machine", cpus_key="num_cpus", colocated=colocated)


@pytest.mark.parametrize(
    ("key", "role", "keys"),
    [
        ("policy", POLICY, ("policy.num_ranks=8", "policy.gpus_per_rank=1", "8 GPUs")),
        ("samplers", SamplerConfig(num_samplers=2, gpus_per_sampler=0.5), ("samplers.num_samplers=2", "takes 1 GPUs")),
        ("generator", GeneratorConfig(gpus_per_replica=1), ("generator.gpus_per_replica=1",)),
        ("generator", GeneratorConfig(server=IMAGES, num_replicas=2), ("num_replicas=2", "generator.server.gpus=4")),
        ("judge", JudgeConfig(kind="vllm", model="a/b", server=ServerConfig(gpus=4)), ("judge.server.gpus=4",)),
        ("evidence.looks", EvidenceConfig(fn="a.b", gpus_per_replica=1), ("evidence.looks.gpus_per_replica=1",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_role_without_its_gpus_is_named_with_what_there_is(key, role, keys):
    with pytest.raises(ValueError, match="and this machine has 0: lower either") as refused:
        room({key: role})
    assert all(part in str(refused.value) for part in keys)
    room({key: role}, gpus=8)


def test_too_many_ranks_name_the_key_that_has_the_cpus():
    with pytest.raises(ValueError, match=r"policy\.num_ranks=17 takes 17 .* has 16: lower .* or raise num_cpus"):
        room({"policy": replace(POLICY, num_ranks=17, gpus_per_rank=0, ranks_per_node=17)})
    with pytest.raises(ValueError, match=r"workers\.num_workers=200 takes 20 "):
        room({"workers": RolloutWorkersConfig(num_workers=200)})


def test_an_ensembles_members_and_a_second_judge_ask_for_themselves():
    members: list[dict[str, object]] = [{"scorer": "a.b"}, {"kind": "vllm", "model": "a/b", "server": {"gpus": 2}}]
    judge = JudgeConfig(kind="ensemble", members=members)
    asked = list(demands_of("evidence.x", EvidenceConfig(judge=judge)))
    assert asked == [
        Demand("evidence.x.judge.members.0.num_replicas", 1, 0.1),
        Demand("evidence.x.judge.members.1.num_replicas", 1, 1, 2, "evidence.x.judge.members.1.server.gpus"),
    ]


def test_what_runs_in_the_callers_process_needs_no_ray():
    assert not needs_ray({"generator": GeneratorConfig(num_replicas=0), "judge": JudgeConfig(num_replicas=0)})
    assert needs_ray({"generator": GeneratorConfig(num_replicas=0), "judge": JudgeConfig(kind="openai", model="m")})


def test_roles_that_take_turns_count_once():
    roles: dict[str, Role] = {
        "policy": POLICY,
        "samplers": SamplerConfig(num_samplers=4, gpus_per_sampler=1),
        "generator": GeneratorConfig(gpus_per_replica=0.5, num_replicas=2),
    }
    assert gpus_of(roles) == {"policy": 8, "samplers": 4, "generator": 1}
    assert gpus_of(roles, ["samplers"]) == {"policy": 8, "samplers": 0, "generator": 1}
    with pytest.raises(
        ValueError, match=r"takes 13 GPUs \(policy 8, samplers 4, generator 1\), and this machine has 12"
    ):
        room(roles, gpus=12, colocated=[])
    room(roles, gpus=9, colocated=["samplers"])
    with pytest.raises(ValueError, match=r"takes 9 GPUs \(policy 8, generator 1\)"):
        room(roles, gpus=8, colocated=["samplers"])


def test_one_gpu_is_enough_for_everything_at_small_size():
    policy, samplers = replace(POLICY, num_ranks=1, gpus_per_rank=0.6), SamplerConfig(gpus_per_sampler=0.6)
    check_colocation(policy, samplers)
    generator = GeneratorConfig(gpus_per_replica=0.4)
    room({"policy": policy, "samplers": samplers, "generator": generator}, gpus=1, colocated=["samplers"])


@pytest.mark.parametrize(
    ("policy", "samplers", "error"),
    [
        ({}, {}, r"policy\.gpus_per_rank \(1\) and samplers\.gpus_per_sampler \(0\) have to be equal"),
        ({}, {"gpus_per_sampler": 2}, "have to be equal, at most 1; or set placement=separate"),
        (
            {"num_ranks": 2},
            {"gpus_per_sampler": 1, "num_samplers": 3},
            r"num_samplers=3, .* policy\.num_ranks=2 to take",
        ),
    ],
)
def test_what_cannot_take_turns_is_refused(policy, samplers, error):
    with pytest.raises(ValueError, match=error):
        check_colocation(replace(POLICY, **policy), SamplerConfig(**samplers))
