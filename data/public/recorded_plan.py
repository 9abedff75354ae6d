"""The plan of an `execution_record.json`: its planner's answer as it was repaired, read by the contract."""

from data.errors import RecordError, type_error
from data.records.rl import required
from rollout.text.marks import IMAGE_MARK, TAGS, has_tag, special_tokens_in
from rollout.text.plan import Mode, Plan, PlanError, format_plan, parse_plan
from rollout.text.tagged_answer import format_answer

_TEXTS = ("instruction", "prompt", "auxiliary_text")
_KEYS = {"step_number", "step_name", *_TEXTS}


def read_recorded_plan(context: dict[str, object], mode: Mode) -> tuple[Plan, list[str]]:
    """Return the plan in a `global_context`, and the leniencies that it took. Raises `RecordError`."""
    thought = context.get("reasoning", "")
    if not isinstance(thought, str):
        raise type_error("global_context.reasoning", thought, "a string")
    if has_tag(thought):
        raise RecordError("tags", f"field global_context.reasoning holds one of {', '.join(TAGS)}")
    leniencies: list[str] = []
    entries = required(context, "execution_plan", list, "a list", inside="global_context: ")
    steps = [_step(entry, place, leniencies) for place, entry in enumerate(entries, 1)]
    try:
        plan = parse_plan(format_answer({"execution_plan": steps}, thought), mode)
    except PlanError as error:
        raise RecordError(f"plan.{error.kind}", f"field global_context.execution_plan: {error.detail}") from None
    except RecursionError:
        raise RecordError("plan.json", "field global_context.execution_plan is nested too deeply") from None
    said = format_plan(plan)
    if IMAGE_MARK in said:
        raise RecordError("plan.marks", f"field global_context says {IMAGE_MARK}, which marks an image of a question")
    if special := special_tokens_in(said):
        raise RecordError("plan.special_token", f"field global_context holds {special[0]}, a control token of models")
    return plan, leniencies


def _step(entry: object, place: int, leniencies: list[str]) -> object:
    """Return an entry with exactly the contract's keys, as far as it has them."""
    if not isinstance(entry, dict):
        return entry  # the contract's parser says what is wrong
    step = {key: value for key, value in entry.items() if key in _KEYS}
    leniencies += ["unknown_key"] * (len(entry) - len(step))
    if "step_name" not in step:
        step["step_name"] = f"Step {place}"
        leniencies.append("no_step_name")
    for key in _TEXTS:
        if isinstance(text := step.get(key), str) and text.strip() in ("", "None"):
            step[key] = None
            leniencies.append("no_text")
    return step
