"""What may differ when a run is resumed: nothing that changes what is learned from a step.

But for `num_steps`: a run may be made longer, and a cosine schedule or a warm-up that is a share of it stretches.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rl.recipe.jobs import JobRecipe
from rl.recipe.same_place import is_path, is_same_place, leads_elsewhere

MAY_CHANGE = frozenset(
    {
        "num_steps",
        "save_every",
        "keep_checkpoints",
        "keep_best",
        "num_cpus",
        "run_dir",  # the folder that holds the record is the run's, wherever it was moved
        "answers",  # what is counted, never what is earned
        "ray_address",
        "workers",
        "tracking",
        "store_is_shared",
        "store_limit_gib",
        "ledger",
        "reward.probe",
        "benchmark",
        "rollout.max_failure_share",
        # How an update is computed, not what: the same up to rounding.
        "policy.shared_prefix",
        "policy.is_packed",
        "policy.max_tokens_per_micro_batch",
        "policy.gradient_checkpointing",
        "policy.kept_activations",
        "policy.compile_layers",
        "policy.offload",
        "placement",
    }
)
"""Top-level keys, and some in a section."""
SERVICE_MAY_CHANGE = frozenset(
    {
        "base_url",
        "api_key_env",
        "endpoints",
        "structured_output",
        "hedge_after_s",
        "budget_calls",
        "budget_usd",
        "usd_per_million_input_tokens",
        "usd_per_million_output_tokens",
        "usd_per_image",
        "num_replicas",
        "min_replicas",
        "max_replicas",
        "cache_gib",
        "cpus_per_replica",
        "gpus_per_replica",
        "max_concurrency",
        "timeout_s",
        "num_attempts",
        "probe",
        "gpus",
        "port",
        "start_timeout_s",
    }
)
"""Keys of generator, judge (an ensemble's members too) and evidence: who is asked, how fast, and for how much."""
ACCEPT = " (add --accept-changed KEY if you changed a function, prompt or model)"
"""Ends the messages of what has to be fixed before a job goes on."""
_MODELS = ".endpoints.model"
_ABSENT = object()
_SERVICES = ("generator", "judge", "evidence")


def is_resumable_change(key: str) -> bool:
    """Return whether a resumed run may change a key.

    >>> [is_resumable_change(key) for key in ("judge.members.1.budget_usd", "judge.server.dtype", "rollout.n")]
    [True, False, False]
    >>> [is_resumable_change(f"reward.terms.2.{key}") for key in ("timeout_s", "weight")]
    [True, False]
    """
    section, *rest = key.split(".")
    if section == "reward" and rest[-1] == "timeout_s":
        return True
    return not MAY_CHANGE.isdisjoint((section, key)) or (
        section in _SERVICES and not SERVICE_MAY_CHANGE.isdisjoint(rest)
    )


def forbidden_changes(
    saved: JobRecipe,
    recipe: JobRecipe,
    allows: Callable[[str], bool] = is_resumable_change,
    was_in: Path | None = None,
) -> list[str]:
    """Return the keys, dotted, in which a recipe differs from the one that its job was started with.

    The job's relative paths were those of the folder `was_in`; None: of the working folder. A path may be another one
    for that alone.
    """
    old, new = asdict(saved), asdict(recipe)
    forbidden = {key for key in differing_keys(old, new) if not allows(key)}
    moved = {
        key
        for key in forbidden
        if is_path(type(recipe), key) and is_same_place(_value_at(old, key), _value_at(new, key), was_in)
    }
    strayed = {key for key in _strayed(type(recipe), old, new, was_in) if not allows(key)}
    return sorted((forbidden - moved) | strayed | set(_other_models(old, new)))


def _strayed(kind: type, old: object, new: object, was_in: Path | None) -> Iterator[str]:
    """Yield the keys of paths that are said as before and lead elsewhere."""
    if was_in is None or was_in == Path.cwd():
        return
    for key, text in _texts(new):
        if _value_at(old, key) == text and is_path(kind, key) and leads_elsewhere(key, text, was_in):
            yield key


def _texts(tree: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a tree by their dotted keys."""
    if isinstance(tree, str):
        yield key, tree
    elif isinstance(tree, dict | list):
        for name, one in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _texts(one, f"{key}.{name}".lstrip("."))


def describe_changes(saved: JobRecipe, recipe: JobRecipe, keys: Iterable[str], was_in: Path | None = None) -> str:
    """Return changed keys with what they were and what they are now."""
    old, new = asdict(saved), asdict(recipe)

    def told(key: str) -> str:
        was, is_now = value_told(old, key), value_told(new, key)
        if was != is_now or was_in is None:
            return f"{key} (was {was}, now {is_now})"
        return f"{key} (was {was} in {was_in}, now in {Path.cwd()}: start in {was_in}, or give its whole path)"

    return ", ".join(map(told, keys))


def value_told(tree: Any, key: str) -> str:
    """Return the value at a dotted key as a message shows it.

    >>> value_told({"a": {"b": [1, 2]}}, "a.b.1"), value_told({"a": None}, "a"), value_told({}, "a.b")
    ('2', 'null', 'not there')
    """
    judge, mark, _ = key.partition(_MODELS)
    value = _value_at(tree, judge if mark else key)
    if value is _ABSENT:
        return "not there"
    if mark and isinstance(value, dict):
        return " and ".join(sorted(_models(value)))
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _value_at(tree: Any, key: str) -> object:
    """Return the value at a dotted key; `_ABSENT` where there is none."""
    for name in key.split("."):
        if isinstance(tree, dict) and name in tree:
            tree = tree[name]
        elif isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            return _ABSENT
    return tree


def _other_models(old: object, new: object, key: str = "") -> Iterator[str]:
    """Yield the keys of endpoints that know the model by a name that none had: an endpoint may come, no other model."""
    if isinstance(old, dict) and isinstance(new, dict):
        if (old.get("endpoints") or new.get("endpoints")) and not _models(new) <= _models(old):
            yield f"{key}{_MODELS}"
        for name in (old.keys() & new.keys()) - {"endpoints"}:
            yield from _other_models(old[name], new[name], f"{key}.{name}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list):
        for place, (first, second) in enumerate(zip(old, new, strict=False)):
            yield from _other_models(first, second, f"{key}.{place}")


def _models(settings: dict[str, Any]) -> set[str]:
    """Return the names by which the endpoints of a judge know its model."""
    own = settings.get("model") or ""
    return {endpoint.get("model") or own for endpoint in settings.get("endpoints") or ()} or {own}


def differing_keys(one: object, other: object, key: str = "") -> Iterator[str]:
    """Yield the dotted keys in which two trees differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from differing_keys(one.get(name), other.get(name), f"{key}.{name}".lstrip("."))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for place, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from differing_keys(first, second, f"{key}.{place}")
    elif one != other:
        yield key
