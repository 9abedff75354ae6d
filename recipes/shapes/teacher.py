"""The teachers of the shapes world, who know it: the ideal plan of a request, the ideal critique of an attempt.

Both say things in uniformly random words, drawn by the seed: what works best is left to RL.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from PIL import Image

from recipes.shapes.judge import is_success, read, score
from recipes.shapes.requests import read_question, read_wanted
from recipes.shapes.world import PLACES, Scene, parse, say, say_randomly, side_of_step
from rollout.plan import Plan, PlanStep
from rollout.types import Critique


def plan(request: str, images: Sequence[Image.Image], seed: int) -> Plan:
    """Return the plan of a request of `requests.py`. Raises ValueError for any other."""
    place = read_question(request)
    if place is not None and images:
        seen = read(images[-1]).sightings.get(place)
        return Plan((PlanStep(1, place, None, None, str(seen or "nothing")),))
    wanted = read_wanted(request)
    if wanted is None:
        raise ValueError(f"{request!r} is no request of the shapes world (recipes/shapes/requests.py)")
    rng = random.Random(f"plan {seed}")
    steps = []
    for number, things in enumerate(wanted.steps, wanted.first):
        instruction = " and ".join(things)
        scene = parse(instruction)
        text = say(scene, str) if wanted.is_told else None
        steps.append(PlanStep(number, " and ".join(scene), instruction, say_randomly(scene, rng), text))
    return Plan(tuple(steps))


def critique(before: Image.Image | None, after: Image.Image, instruction: str, prompt: str, seed: int) -> Critique:
    """Return what SFT teaches of an attempt; the prompt that was used does not change it."""
    scene, wishes = _scene(before), parse(instruction)
    verdict = is_success(score(before, after, instruction))
    return ideal_critique(scene, wishes, after, verdict, random.Random(f"critique {seed}"))


def ideal_critique(scene: Scene, wishes: Scene, after: Image.Image, is_success: bool, rng: random.Random) -> Critique:
    """Return the critique that looks place by place, then gives the verdict, then the wish in random words."""
    wanted, seen = {**scene, **wishes}, read(after).sightings
    lines = []
    for place in PLACES:
        wish, sight = str(wanted.get(place, "nothing")), str(seen.get(place, "nothing"))
        lines.append(f"{place} {wish} sees {sight} {'true' if wish == sight else 'false'}")
    return Critique(is_success, say_randomly(wishes, rng), ", ".join(lines))


def side(before: Image.Image | None, instruction: str) -> str:
    """Return the side that a step is on: by what it does to what, whatever words it is told in."""
    return side_of_step(_scene(before), parse(instruction))


def _scene(before: Image.Image | None) -> Scene:
    return {} if before is None else read(before).scene
