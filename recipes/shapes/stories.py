"""Stories of the shapes world: requests of several steps, and the plan that follows from their grammar.

    Draw a red circle at the left, then a blue square at the top, then a green disc at the left.
    Show in 3 steps: a red circle at the left and a blue square at the top and a green disc at the left

One clause per step, or the things spread evenly over the steps, the first steps getting any remainder; a later step
may change a place again.
"""

import json
import random
import re
from pathlib import Path

import numpy as np

from actors.store.files import write_whole
from evals.stories import EvalStory
from recipes.shapes.world import Scene, common_words, parse, random_scene, say, say_randomly
from rollout.text.plan import Plan, PlanStep

_START = re.compile(r"\A\s*(?:(?:please\s+)?(?:draw|go on with|add)\s+)?", re.IGNORECASE)
_COUNTED = re.compile(r"\s*show in (\d+) steps?: (.+)", re.IGNORECASE | re.DOTALL)
_NEXT = re.compile(r"[,;.]?\s*\bthen\s+", re.IGNORECASE)

_SEED = 0
"""What the embedded world was built with."""
NUM_STEPS = range(2, 9)
"""Numbers of steps of stories for evaluation."""


def plan(request: str, num_images: int) -> Plan:
    """Parse a request of the grammar and plan its clauses in order. Raises ValueError for any other.

    >>> [step.prompt for step in plan("Draw a red dot at the left, then a blue box at the top.", 0).steps]
    ['a red dot at the left', 'a blue box at the top']
    """
    steps = []
    for number, clause in enumerate(_clauses(request.replace("<image>", "")), 1):
        things = ", ".join(str(thing) for thing in parse(clause).values())
        steps.append(PlanStep(number, things.capitalize(), clause, clause))
    return Plan(tuple(steps), f"the request has {len(steps)} clauses, one a step")


def _clauses(request: str) -> list[str]:
    """Return the clauses of a request, one per step."""
    counted = _COUNTED.fullmatch(request)
    if counted is None:
        return [clause.strip(" .,;!") for clause in _NEXT.split(_START.sub("", request))]
    num_steps, things = int(counted[1]), counted[2].split(" and ")
    if not 1 <= num_steps <= len(things):
        raise ValueError(f"{request!r} asks for {num_steps} steps of {len(things)} things")
    return [" and ".join(part) for part in np.array_split(things, num_steps)]


def eval_stories(count: int, form: str = "then") -> list[EvalStory]:
    """Return `count` stories of 2 to 8 steps, all lengths equally often; `form` is `then` or `show`."""
    return [random_story(f"eval-{number:03d}", NUM_STEPS[number % len(NUM_STEPS)], form) for number in range(count)]


def best_phrasing(instruction: str) -> str:
    """Return an instruction in the words that the embedded world's generator knows best. Raises ValueError.

    >>> best_phrasing("a ruby ball at the summit")
    'a scarlet dot at the top'
    """
    return say(parse(instruction), common_words(_SEED).__getitem__)


def write_story_requests(folder: Path, seed: int, count: int) -> Path:
    """Write `requests.jsonl`, what a data build is asked: stories like those of evaluation, and none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "requests.jsonl"
    names = [(f"told-{seed}-{number:05d}", NUM_STEPS[number % len(NUM_STEPS)]) for number in range(count)]
    lines = (json.dumps({"request": random_story(*name, form="show").request, "images": []}) for name in names)
    write_whole(file, "".join(f"{line}\n" for line in lines).encode())
    return file


def random_story(name: str, num_steps: int, form: str = "then") -> EvalStory:
    """Draw a story in uniformly random words; its name decides everything. No step asks for what is already there."""
    rng = random.Random(f"story {name}")
    scene: Scene = {}
    instructions: list[str] = []
    while len(instructions) < num_steps:
        step = random_scene(rng, 1)
        (place,) = step
        if scene.get(place) != step[place]:
            scene |= step
            instructions.append(say_randomly(step, rng))
    request = f"Draw {', then '.join(instructions)}."
    if form == "show":
        request = f"Show in {num_steps} steps: {' and '.join(instructions)}"
    return EvalStory(name, request, tuple(instructions))
