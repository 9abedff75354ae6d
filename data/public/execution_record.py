"""The public system's `execution_record.json` as a trajectory whose images are named by their paths.

Of a story `{"user_input", "global_context": {"reasoning", "execution_plan"}, "steps": [{"step", "prompt",
"refine_prompt", "source_img", "target_img", "success", "reasoning"}]}`: an entry for each try that was criticised, its
`refine_prompt` the critic's, empty on a success. Of an answer to UEval `{"1": {"prompt", "refine_prompt", "source_img",
"target_img"}}`: the last try of each step, its `refine_prompt` the one that the image was made with.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from data.errors import RecordError, shown, type_error
from data.public.recorded_plan import read_recorded_plan
from data.records.image_paths import ImageResolver
from data.records.rl import check_text, check_unicode, required
from rollout.text.marks import IMAGE_MARK, TAGS, has_tag
from rollout.text.type_names import json_type
from rollout.types import Attempt, Critique, ModelAnswer, Plan, Request, Trajectory

LENIENCIES = {
    "no_step_name": "steps of plans have no name; they are named by their numbers",
    "no_text": 'texts of plans are "None" or empty; they are read as null',
    "unknown_key": "keys are not known; they are left out, but for those within global_context",
    "empty_refinement": "failures have no refine_prompt; they are kept as attempts without a critique",
}
"""What is read though it is not the stated form, and what becomes of it."""
NOT_KNOWN = -1
"""Stands for a seed that a record does not tell."""

_STORY = {"user_input", "user_input_image", "global_context", "steps"}
_FINAL = {"prompt", "refine_prompt", "source_img", "target_img"}
_TRY = _FINAL | {"step", "success", "reasoning"}
_SEED = re.compile(r"step\d+_(\d{1,4})\.\w+\Z")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a file records."""

    trajectory: Trajectory
    """Its images are paths of files; `scores` of its attempts are None, since no judge is in the file."""
    leniencies: tuple[str, ...]
    """Of `LENIENCIES`, once for each time."""


def read_execution_record(record: object, places: ImageResolver, *, name: str) -> Recorded:
    """Return what a record tells. `name` identifies the request. Raises `RecordError`, without the file."""
    if not isinstance(record, dict):
        raise RecordError("not_object", f"expected an object, found {json_type(record)}")
    check_text(name, "the folder's name")
    if _STORY.isdisjoint(record):
        return _answer_to_ueval(record, places, name)
    text = _text(record, "user_input", "").strip()
    if not text:
        raise RecordError("empty", "field user_input is empty")
    entries = record.get("user_input_image") or []
    given = entries if isinstance(entries, list) else [entries]
    images = tuple(_image(image, f"user_input_image[{place}]", places) for place, image in enumerate(given))
    if text.count(IMAGE_MARK) not in (0, len(images)):
        raise RecordError("marks", f"user_input: {text.count(IMAGE_MARK)} {IMAGE_MARK} marks for {len(images)} images")
    request = Request(text, images, id=name)
    context = required(record, "global_context", dict, "an object")
    plan, leniencies = read_recorded_plan(context, request.mode)
    leniencies += ["unknown_key"] * len(record.keys() - _STORY)
    prompts = [entry["prompt"] for entry in context["execution_plan"]]
    tries = _Tries(plan, prompts, places, leniencies)
    for place, entry in enumerate(required(record, "steps", list, "a list")):
        tries.add(entry, f"steps[{place}]: ")
    plan_text = json.dumps(context, ensure_ascii=False)
    check_unicode(plan_text, "global_context")
    return Recorded(Trajectory(request, plan_text, plan, tuple(tries.all), tries.accepted), tuple(leniencies))


class _Tries:
    """The tries of a story, read one after the other."""

    def __init__(self, plan: Plan, prompts: list[object], places: ImageResolver, leniencies: list[str]):
        self._plan = plan
        self._prompts = prompts
        self._places = places
        self._leniencies = leniencies
        self._refined = ""
        self.all: list[Attempt] = []
        self.accepted: dict[int, int] = {}

    def add(self, entry: Any, inside: str) -> None:
        """Read an entry of `steps`. It counts steps from 1, whatever their numbers in the plan are."""
        _check_entry(entry, inside)
        self._leniencies += ["unknown_key"] * len(entry.keys() - _TRY)
        number = required(entry, "step", int, "a whole number", inside=inside)
        if isinstance(number, bool) or not 1 <= number <= len(self._plan.steps):
            raise RecordError("step", f"{inside}step is {number}, but the plan has {len(self._plan.steps)} steps")
        step = self._plan.steps[number - 1]
        last = self.all[-1] if self.all else None
        if step.number in self.accepted or (last is not None and step.number < last.step):
            raise RecordError("order", f"{inside}step {number} comes again after it was over")
        prompt = _text(entry, "prompt", inside)
        planned = self._prompts[number - 1]
        if step.prompt is None or step.instruction is None or prompt != planned:
            raise RecordError("prompt", f"{inside}prompt is {shown(prompt)}, the plan's is {shown(planned)}")
        is_again = last is not None and last.step == step.number
        told = (self._refined if is_again else "") or prompt
        success = required(entry, "success", bool, "true or false", inside=inside)
        refined, thought = _text(entry, "refine_prompt", inside), _text(entry, "reasoning", inside)
        if has_tag(thought):
            raise RecordError("tags", f"{inside}reasoning holds one of {', '.join(TAGS)}")
        if not success and not refined.strip():
            self._leniencies.append("empty_refinement")
        keep = (refined if refined.strip() else told if success else "").strip()
        target = entry.get("target_img")
        if success:
            self.accepted[step.number] = len(self.all)
        self.all.append(
            Attempt(
                step=step.number,
                number=last.number + 1 if is_again and last is not None else 1,
                instruction=step.instruction,
                prompt=told,
                seed=_seed_in(target),
                before=_find(entry.get("source_img"), f"{inside}source_img", self._places),
                image=_image(target, f"{inside}target_img", self._places),
                answers=(_word_for_word({"success": success, "refine_prompt": refined, "reasoning": thought}),),
                critique=Critique(success, keep, thought.strip()) if keep else None,
            )
        )
        self._refined = "" if success else refined


def _word_for_word(entry: Mapping[str, object]) -> ModelAnswer:
    return ModelAnswer(NOT_KNOWN, json.dumps(entry, ensure_ascii=False))


def _answer_to_ueval(record: dict[str, Any], places: ImageResolver, name: str) -> Recorded:
    """Read the other form. It says neither the request nor the plan: the request is named by its folder."""
    attempts, unknown = [], 0
    if not record or set(record) != {str(number) for number in range(1, len(record) + 1)}:
        raise RecordError(
            "keys", f"found {shown(sorted(record))}, expected user_input, global_context and steps, or 1, 2, 3, ..."
        )
    for number in range(1, len(record) + 1):
        entry, inside = record[str(number)], f"{number}: "
        _check_entry(entry, inside)
        unknown += len(entry.keys() - _FINAL)
        prompt, refined = _text(entry, "prompt", inside), _text(entry, "refine_prompt", inside)
        if not prompt.strip():
            raise RecordError("empty", f"{inside}field prompt is empty")
        attempts.append(
            Attempt(
                step=number,
                number=1,
                instruction=prompt,
                prompt=refined if refined.strip() else prompt,
                seed=NOT_KNOWN,
                before=_find(entry.get("source_img"), f"{inside}source_img", places),
                image=_image(entry.get("target_img"), f"{inside}target_img", places),
                answers=(_word_for_word({"refine_prompt": refined}),),
            )
        )
    return Recorded(Trajectory(Request(name, id=name), attempts=tuple(attempts)), ("unknown_key",) * unknown)


def _check_entry(entry: object, inside: str) -> None:
    if not isinstance(entry, dict):
        raise type_error(inside.removesuffix(": "), entry, "an object")


def _text(record: dict[str, object], name: str, inside: str) -> str:
    """Return a text that may stand in a prompt or an answer."""
    text: str = required(record, name, str, "a string", inside=inside)
    try:
        check_text(text, name)
    except RecordError as error:
        raise RecordError(error.kind, f"{inside}{error.text}") from None
    if IMAGE_MARK in text and name != "user_input":
        raise RecordError("marks", f"{inside}field {name} says {IMAGE_MARK}, which marks an image of a question")
    return text


def _image(value: object, field: str, places: ImageResolver) -> str:
    path = _find(value, field, places)
    if path is None:
        raise RecordError("canvas", f"field {field} is the white canvas, expected an image")
    return path


def _find(value: object, field: str, places: ImageResolver) -> str | None:
    """Return the path of an image; None for the white canvas, which is what a first step begins with."""
    if not isinstance(value, str):
        raise type_error(field, value, "a path")
    with suppress(RecordError):  # where the record was made does not matter: its images lie beside it
        return places.find(value.rpartition("/")[2], field)
    return places.find(value, field)


def _seed_in(value: object) -> int:
    """Return the seed, which the public system's generators use as the second number of a file's name."""
    found = _SEED.search(value) if isinstance(value, str) else None
    return int(found[1]) if found else NOT_KNOWN
