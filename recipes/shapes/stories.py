"""Stories of the shapes world: requests of several steps, and the plan that a reader of the grammar makes of them.

    Draw a red circle at the left, then a blue square at the top, then a green disc at the left.

One clause a step; a later clause may set a place anew.
"""

from __future__ import annotations

import random
import re

from evals.stories import EvalStory
from recipes.shapes.world import Scene, parse, random_scene, say_randomly
from rollout.plan import Plan, PlanStep

_START = re.compile(r"\A\s*(?:(?:please\s+)?(?:draw|go on with|add)\s+)?", re.IGNORECASE)
_NEXT = re.compile(r"[,;.]?\s*\bthen\s+", re.IGNORECASE)


NUM_STEPS = range(2, 9)
"""How many steps a story for evaluation has."""


def plan(request: str, num_images: int) -> Plan:
    """Read a request of the grammar and plan its clauses as they are said. Raises ValueError for any other.

    >>> [step.prompt for step in plan("Draw a red dot at the left, then a blue box at the top.", 0).steps]
    ['a red dot at the left', 'a blue box at the top']
    """
    clauses = [clause.strip(" .,;!") for clause in _NEXT.split(_START.sub("", request.replace("<image>", "")))]
    steps = []
    for number, clause in enumerate(clauses, 1):
        things = ", ".join(str(thing) for thing in parse(clause).values())
        steps.append(PlanStep(number, things.capitalize(), clause, clause))
    return Plan(tuple(steps), f"the request has {len(steps)} clauses, one a step")


def eval_stories(count: int) -> list[EvalStory]:
    """Return as many stories of 2 to 8 steps, every length as often as any other."""
    return [random_story(f"eval-{number:03d}", NUM_STEPS[number % len(NUM_STEPS)]) for number in range(count)]


def random_story(name: str, num_steps: int) -> EvalStory:
    """Draw a story in uniformly random words; its name decides everything. No step asks for what is there already."""
    rng = random.Random(f"story {name}")
    scene: Scene = {}
    instructions: list[str] = []
    while len(instructions) < num_steps:
        wish = random_scene(rng, 1)
        (place,) = wish
        if scene.get(place) != wish[place]:
            scene |= wish
            instructions.append(say_randomly(wish, rng))
    return EvalStory(name, "Draw " + ", then ".join(instructions) + ".", tuple(instructions))
