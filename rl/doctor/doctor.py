"""Everything that may keep a run from starting, or end it later: looked at before it starts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from actors.cluster import RayNotUp, check_cluster, ray_cluster
from rl.doctor.cluster import look_at_nodes
from rl.doctor.finding import Finding
from rl.doctor.machine import look_at_machine
from rl.doctor.recipe import ask_endpoints, look_at_recipe
from rl.recipe.config import Recipe

_JOINING = (
    "see that a Ray of the locked version is there, and put its RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token, into the "
    "environment"
)


async def examine(recipe: Recipe | None, *, asks: bool = False) -> AsyncIterator[Finding]:
    """Yield all findings as they are made: of this machine, and of what a recipe names, with its cluster's nodes.

    `asks` puts one question to each endpoint. Without `ray_address` nothing is started.
    """
    folder = Path(recipe.run_dir if recipe else "runs")
    for found in look_at_machine(folder):
        yield found
    address = recipe.ray_address if recipe else ""
    ray_found = await asyncio.to_thread(_ray, address)
    yield ray_found
    if recipe is None:
        return
    try:
        for found in look_at_recipe(recipe):
            yield found
    except ValueError as error:
        yield Finding("recipe", str(error), "mend the recipe: a run would not start")
    if asks:
        for found in await ask_endpoints(recipe):
            yield found
    if address and ray_found.is_good:
        try:
            async with ray_cluster(address, recipe.num_cpus):
                for found in await asyncio.to_thread(lambda: list(look_at_nodes(folder))):
                    yield found
        except RayNotUp as error:
            yield Finding("Ray", str(error), _JOINING)


def _ray(address: str) -> Finding:
    try:
        check_cluster(address)
    except ValueError as error:
        text, _, mend = str(error).partition("; ")
        return Finding("Ray", text, mend or "see the line")
    return Finding("Ray", f"answers at {address}" if address else "nothing keeps it from starting here")
