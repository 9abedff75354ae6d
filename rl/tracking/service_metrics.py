"""What samplers, generator and judge did during a step: differences of counts that only grow, and rates of them.

A step lasts from the end of the one before to its own end. What rollouts of a later step, or an evaluation, did in
that time is in its counts.
"""

from collections.abc import Mapping

from actors.evidence.kind import kind_of as evidence_kind
from actors.judge.judge import kind_of as judge_kind
from rl.recipe.config import Recipe

Metrics = dict[str, float]

GAUGES = ("latency_p50_s", "latency_p95_s", "busy_share", "places")
"""Names that tell a state; all others are counts since the run's start."""
_CONTINUED = ("generator", "judge", "evidence")
"""Areas whose counts outlive their owner's process, but for the last seconds'."""


def step_metrics(before: Mapping[str, float], now: Mapping[str, float]) -> Metrics:
    """Return what was counted in between, keyed `service/name`, and so far, keyed `service_total/name`.

    A service may be a member of another one: `judge/0-gpt-4.1/calls`, `judge/0-gpt-4.1_total/calls`.
    `service/hit_rate` is the share of calls that cost nothing: cached, or joined with an equal one in flight.

    >>> step_metrics({"judge/calls": 10.0}, {"judge/calls": 14.0, "judge/hits": 1.0, "judge/latency_p50_s": 0.5})
    ... # doctest: +NORMALIZE_WHITESPACE
    {'judge/calls': 4.0, 'judge_total/calls': 14.0, 'judge/hits': 1.0, 'judge_total/hits': 1.0,
     'judge/latency_p50_s': 0.5, 'judge/hit_rate': 0.25}
    """
    metrics: Metrics = {}
    for key, value in now.items():
        service, name = _split(key)
        if name in GAUGES:
            metrics[key] = value
        else:
            earlier = before.get(key, 0.0)
            # A service that counts from 0 after a restart has counted this since then; one that continues its books
            # has lost a little.
            lost = 0.0 if key.partition("/")[0] in _CONTINUED else value
            metrics[key] = value - earlier if value >= earlier else lost
            metrics[f"{service}_total/{name}"] = value
    for service in {_split(key)[0] for key in now}:
        if calls := metrics.get(f"{service}/calls", 0.0):
            unpaid = metrics.get(f"{service}/hits", 0.0) + metrics.get(f"{service}/shared", 0.0)
            metrics[f"{service}/hit_rate"] = unpaid / calls
    return metrics


def _split(key: str) -> tuple[str, str]:
    """Return the service and the name of what it counts.

    >>> _split("evidence/look/calls"), _split("judge/faults/timeout")
    (('evidence/look', 'calls'), ('judge', 'faults/timeout'))
    """
    service, _, name = key.rpartition("/")
    return (service.removesuffix("/faults"), f"faults/{name}") if service.endswith("/faults") else (service, name)


def idle_shares(metrics: Mapping[str, float], seconds: float, recipe: Recipe) -> Metrics:
    """Return the share of the last `seconds` in which each part had nothing to do, keyed `idle/...`.

    Policy: neither updating nor publishing. Samplers: an engine without a request. Generator: a replica without a
    batch. Judge: an unused slot for a request. A part that counts nothing is left out.
    """
    replicas = recipe.generator.most_replicas
    judge_places = max(1, recipe.judge.num_replicas) * recipe.judge.max_concurrency
    busy = {
        "policy": (("seconds/update", "seconds/publish"), 1.0),
        "samplers": (("samplers/seconds",), float(recipe.samplers.num_samplers)),
        "generator": (("generator/run_seconds",), float(replicas)),
        "judge": (("judge/seconds",), metrics.get("judge/places", float(judge_places))),
    }
    shares = {}
    for part, (keys, places) in busy.items():
        if any(key in metrics for key in keys):
            share = 1 - sum(metrics.get(key, 0.0) for key in keys) / (seconds * places)
            # Work is counted when it is done: what began before the step may end in it.
            shares[f"idle/{part}"] = min(1.0, max(0.0, share))
    return shares


def throughput(metrics: Mapping[str, float], seconds: float, recipe: Recipe) -> Metrics:
    """Return samples and response tokens a second, over all and for each device, keyed `throughput/...`."""
    rates: Metrics = {}
    for name in ("samples", "tokens"):
        rate = metrics.get(f"rollout/{name}", 0.0) / seconds
        rates |= {f"throughput/{name}_per_s": rate, f"throughput/{name}_per_s_per_device": rate / num_devices(recipe)}
    if metrics.get("policy/seconds"):
        trained = metrics["policy/tokens"] / metrics["policy/seconds"]
        rates["throughput/trained_tokens_per_s_per_rank"] = trained / recipe.policy.num_ranks
    return rates


def num_devices(recipe: Recipe) -> float:
    """Return the GPUs that a recipe asks for; without any, the processes that hold a model."""
    policy, samplers, generator = recipe.policy, recipe.samplers, recipe.generator
    return num_gpus(recipe) or policy.num_ranks + samplers.num_samplers + max(1, generator.num_replicas)


def num_gpus(recipe: Recipe) -> float:
    """Return the GPUs that a recipe asks for."""
    policy, samplers, generator = recipe.policy, recipe.samplers, recipe.generator
    return (
        policy.num_ranks * policy.gpus_per_rank
        + samplers.num_samplers * samplers.gpus_per_sampler
        + generator.num_replicas * generator.gpus_of_each
        + judge_kind(recipe.judge).num_gpus(recipe.judge)
        + sum(evidence_kind(config).num_gpus(config) for config in recipe.evidence.values())
    )
