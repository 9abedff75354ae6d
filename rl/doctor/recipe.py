"""What a run by a recipe needs beside the machine: data, keys, models, packages, and endpoints that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from actors.judge.config import JudgeConfig
from actors.resources import check_room
from actors.store.bucket import check_bucket
from actors.store.place import is_bucket
from rl.doctor.finding import Finding
from rl.plan.devices import Devices, devices_here
from rl.plan.judges import judges_asked
from rl.plan.missing import check_recipe, count_records, missing, not_tried
from rl.plan.placement import roles_of
from rl.recipe.config import Recipe
from rl.writable import check_store, check_writable

_MENDS = {"data": "put it there, or say where it is", "policy": "see docs/update.md"}
_OTHERWISE = "give it"


def look_at_recipe(recipe: Recipe) -> Iterator[Finding]:
    """Yield what a recipe names that is not here. Raises ValueError where it is wrong.

    No endpoint is asked, but a store in a bucket is tried: a small object is written, read and removed.
    """
    check_recipe(recipe)
    count_records(recipe)
    devices = devices_here()
    if not recipe.ray_address:
        yield _room(recipe, devices)
    if is_bucket(recipe.store):
        yield _bucket(recipe.store)
    yield from _folders(recipe)
    lacking = missing(recipe, devices)
    for one in lacking:
        mend = _MENDS.get(one.key.partition(".")[0], _OTHERWISE) if one.is_needed else ""
        yield Finding(one.key, one.text, mend)
    if not lacking:
        yield Finding("recipe", f"{recipe.name}: data, keys and models are here; {not_tried(recipe)}")


def _room(recipe: Recipe, devices: Devices) -> Finding:
    """See whether all roles fit on this machine."""
    cpus, gpus = recipe.num_cpus, devices.num_gpus
    try:
        check_room(
            roles_of(recipe),
            cpus=cpus,
            gpus=gpus,
            where="this machine",
            cpus_key="num_cpus",
            colocated=recipe.colocated,
        )
    except ValueError as error:
        return Finding("roles", str(error), "ask for less, or set ray_address to a cluster that has it")
    return Finding("roles", "all fit on this machine")


def _folders(recipe: Recipe) -> Iterator[Finding]:
    """Yield which of a run's folders could not be written into."""
    checks = {
        "run_dir": partial(check_writable, Path(recipe.run_dir), "run_dir"),
        "store": partial(check_store, recipe.store),
    }
    for key, check in checks.items():
        try:
            check()
        except ValueError as error:
            text, _, mend = str(error).partition("; expected ")
            yield Finding(key, text, f"name {mend}")


def _bucket(store: str) -> Finding:
    """See whether a bucket takes what a run puts there."""
    try:
        return Finding("store", f"{store} {', '.join(check_bucket(store))}")
    except ValueError as error:
        return Finding("store", str(error), "see the line")


async def ask_endpoints(recipe: Recipe) -> list[Finding]:
    """Return what each endpoint of the judges answers to one real question, which is paid for where answers are."""
    asked = await asyncio.gather(*(_ask(where, judge) for where, judge in judges_asked(recipe)))
    return [found for findings in asked for found in findings]


async def _ask(where: str, judge: JudgeConfig) -> list[Finding]:
    from actors.judge.probe import ask_judges  # late: it imports the clients

    try:
        answers = await ask_judges({where: judge})
    except ValueError:  # its key is missing, which was found already
        return [Finding(where, "not asked: its key is missing")]
    return [
        Finding(probe.where, f"{probe.endpoint.model} answers")
        if fault is None
        else Finding(probe.where, probe.sentence(fault), "mend it: a run would not start, or lose its samples")
        for probe, fault in answers
    ]
