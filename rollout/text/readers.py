"""How answers of planner and critic are read: by the contract, or as the public system's checkpoints write them.

The reader is a named part of a recipe (`answers: contract` or `answers: public`). `public` reads all that the contract
reads, to the same result; of the rest it reads what differs in the ways that `Leniency` lists, and says in which.
Everything else both refuse: a quoted bool, two answers, JSON that ends early, a plan that swallowed its next step.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rollout.text import critique as critiques
from rollout.text import plan as plans
from rollout.text.critique import Critique, CritiqueError, critique_of, parse_critique
from rollout.text.loose_json import SPACE, Leniency, as_json
from rollout.text.marks import TAGS, has_tag
from rollout.text.plan import Mode, Plan, PlanError, parse_plan, plan_of
from rollout.text.strict_json import AnswerError, unique_keys
from rollout.text.tagged_answer import checked_object
from rollout.text.type_names import json_type

T_co = TypeVar("T_co", covariant=True)
_THINK, _END_OF_THINK, _ANSWER, _END_OF_ANSWER = TAGS
_FENCE = re.compile(r"```\w*\s*")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T_co]):
    """What an answer says."""

    what: T_co
    leniencies: tuple[Leniency, ...] = ()
    """In what it differs from the contract; nothing where that reads it."""


class AnswerReader(Protocol):
    """Reads answers; raises `CritiqueError` and `PlanError` for those that it refuses, and nothing else."""

    def critique(self, text: str, own_prompt: str) -> Reading[Critique]:
        """Return a critique of an attempt, whose own prompt it was made by."""
        ...

    def plan(self, text: str, mode: Mode | None = None) -> Reading[Plan]:
        """Return a plan."""
        ...


class ContractReader:
    """Reads what `parse_critique` and `parse_plan` read."""

    def critique(self, text: str, own_prompt: str) -> Reading[Critique]:
        return Reading(parse_critique(text))

    def plan(self, text: str, mode: Mode | None = None) -> Reading[Plan]:
        return Reading(parse_plan(text, mode))


class PublicReader:
    """Reads what the public system's own prompts teach to answer, too."""

    def critique(self, text: str, own_prompt: str) -> Reading[Critique]:
        try:
            return Reading(parse_critique(text))
        except CritiqueError:
            thought, answer, used = _read(text, CritiqueError, needs_thought=True)
        answer = _only(critiques.KEYS, answer, used)
        if answer.get("previous_step_success") is True and _is_empty(answer.get("refine_prompt", 0)):
            used.add(Leniency.EMPTY_PROMPT)
            answer["refine_prompt"] = own_prompt
        checked_object(answer, critiques.KEYS, CritiqueError)
        return Reading(critique_of(thought, answer), _in_order(used))

    def plan(self, text: str, mode: Mode | None = None) -> Reading[Plan]:
        try:
            return Reading(parse_plan(text, mode))
        except PlanError:
            thought, answer, used = _read(text, PlanError, needs_thought=False)
        answer = _only(plans.KEYS, answer, used)
        checked_object(answer, plans.KEYS, PlanError)
        entries = answer["execution_plan"]
        if isinstance(entries, list):
            answer["execution_plan"] = [_mended(entry, used) for entry in entries]
        return Reading(plan_of(thought, answer, mode), _in_order(used))


CONTRACT = ContractReader()
READERS: dict[str, AnswerReader] = {"contract": CONTRACT, "public": PublicReader()}
"""By the names that recipes have for them."""


def told(counts: Mapping[str, int]) -> str:
    """Return how often each leniency was used, the most frequent first.

    >>> told({"fence": 1, "literal": 3})
    'literal 3, fence 1'
    """
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _read(
    text: str, error_type: type[AnswerError], *, needs_thought: bool
) -> tuple[str, dict[str, object], set[Leniency]]:
    """Return the thought, the object and in what they differ from the contract, as far as their form goes."""
    thought, body, tail, used = _parts(text, error_type, needs_thought=needs_thought)
    body = body.strip(SPACE)
    if (fence := _FENCE.match(body)) is not None:
        used.add(Leniency.FENCE)
        body = body[fence.end() :]
    try:
        rewritten, rest, slips = as_json(body)
        answer = json.loads(rewritten, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise error_type("json", str(error)[:200]) from None
    if fence is not None:
        rest = rest.strip(SPACE).removeprefix("```")
    tail = rest.strip(SPACE) + tail.strip()
    if "{" in tail:
        raise error_type("tags", "something that may be another answer follows the answer")
    if tail:
        used.add(Leniency.TEXT_AFTER)
    if not isinstance(answer, dict):
        raise error_type("not_object", f"the answer is {json_type(answer)}, expected an object")
    return thought, answer, used | slips


def _parts(text: str, error_type: type[AnswerError], *, needs_thought: bool) -> tuple[str, str, str, set[Leniency]]:
    """Return the thought, what stands where the object has to, and what follows its tag."""
    if any(text.count(tag) > 1 for tag in TAGS):
        raise error_type("repeated_tags", f"each of {', '.join(TAGS)} may stand once")
    used: set[Leniency] = set()
    head, begin, body = text.partition(_ANSWER)
    if not begin:
        head, end, body = text.rpartition(_END_OF_THINK)
        head += end
    body, end, tail = body.partition(_END_OF_ANSWER)
    if not (begin and end):
        used.add(Leniency.MISSING_TAG if begin or end else Leniency.NO_TAGS)
    if not begin and not body.lstrip().startswith(("{", "[", "```")):
        raise error_type("tags", f"expected {_ANSWER}...{_END_OF_ANSWER}, or the object itself")
    head = head.strip()
    if head.startswith(_THINK):
        if not head.endswith(_END_OF_THINK):
            used.add(Leniency.MISSING_TAG)
    elif head or needs_thought:
        used.add(Leniency.NO_THINK)
    thought = head.removeprefix(_THINK).removesuffix(_END_OF_THINK).strip()
    if has_tag(thought + body + tail):
        raise error_type("tags", "the tags of thought and answer stand in another order")
    return thought, body, tail, used


def _only(keys: Collection[str], found: dict[str, object], used: set[Leniency]) -> dict[str, object]:
    """Return an object without the keys that nobody asked for."""
    if not found.keys() <= set(keys):
        used.add(Leniency.EXTRA_KEY)
    return {key: value for key, value in found.items() if key in keys}


def _mended(entry: object, used: set[Leniency]) -> object:
    """Return a step of a plan with what it lacks."""
    if not isinstance(entry, dict):
        return entry
    entry = _only(plans.STEP_KEYS, entry, used)
    if entry.get("step_name") is None:
        used.add(Leniency.NO_STEP_NAME)
        number = entry.get("step_number")
        entry["step_name"] = f"Step {number}" if isinstance(number, int) else "Step"
    for key in plans.NULLABLE:
        text = entry.get(key)
        if isinstance(text, str) and text.strip() == "None":
            used.add(Leniency.NONE_TEXT)
            entry[key] = None
    return entry


def _is_empty(prompt: object) -> bool:
    return prompt is None or (isinstance(prompt, str) and not prompt.strip())


def _in_order(used: set[Leniency]) -> tuple[Leniency, ...]:
    return tuple(leniency for leniency in Leniency if leniency in used)
