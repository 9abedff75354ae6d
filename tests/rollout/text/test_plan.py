"""The planner's contract: what parses, what is refused by which name, and that nothing else can happen."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.text.marks import special_tokens_in
from rollout.text.plan import (
    ERROR_KINDS,
    MAX_STEPS,
    Mode,
    Plan,
    PlanError,
    PlanStep,
    format_plan,
    parse_plan,
    render_request,
)

PROMPT = Path(__file__).resolve().parents[3] / "recipes/prompts/planner.txt"


def entry(number: int = 1, **changes: object) -> dict:
    made = {
        "step_number": number,
        "step_name": "Sky",
        "instruction": "A blue sky",
        "prompt": "a clear blue sky",
        "auxiliary_text": None,
    }
    return {**made, **changes}


def words(number: int = 1) -> dict:
    return entry(number, instruction=None, prompt=None, auxiliary_text="It is blue.")


def answer(*entries: object) -> str:
    return f"<answer>{json.dumps({'execution_plan': list(entries)})}</answer>"


TEXTS = st.text(min_size=1).map(str.strip).filter(lambda text: text and not special_tokens_in(text))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    is_text_only = draw(st.booleans())
    steps = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        short, prompt = (None, None) if is_text_only else (draw(TEXTS), draw(TEXTS))
        auxiliary = draw(TEXTS) if is_text_only else draw(st.none() | TEXTS)
        steps.append(PlanStep(number, draw(TEXTS), short, prompt, auxiliary))
    return Plan(tuple(steps), draw(st.text().filter(lambda text: "<" not in text)).strip())


@settings(max_examples=50)
@given(plans())
def test_what_is_formatted_is_read_back(plan):
    assert parse_plan(format_plan(plan)) == plan


def test_a_tag_inside_a_text_does_not_end_the_answer():
    plan = Plan((PlanStep(1, "Tags", "write </answer>", "the words <think> and </answer>"),))
    assert parse_plan(format_plan(plan)) == plan
    with pytest.raises(ValueError, match="thought may not hold"):
        format_plan(Plan(plan.steps, "so </think>"))


@settings(max_examples=50)
@given(st.text())
def test_any_text_is_a_plan_or_a_named_error(text):
    for wrapped in (text, f"<answer>{text}</answer>", f'<answer>{{"execution_plan": {text}}}</answer>'):
        with contextlib.suppress(PlanError):
            assert parse_plan(wrapped).steps


def outcome(text: str, mode: Mode | None) -> str | int:
    """Return the kind of the error, or the number of steps."""
    try:
        return len(parse_plan(text, mode).steps)
    except PlanError as error:
        return error.kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(entry())), inner, max_size=5),
    max_leaves=12,
)
STEPS = st.fixed_dictionaries({key: st.just(value) | JSON for key, value in entry().items()})


@settings(max_examples=50)
@given(st.lists(STEPS | JSON, max_size=4) | JSON, st.sampled_from([None, *Mode]))
def test_any_json_is_a_plan_or_a_named_error(entries, mode):
    text = f"<answer>{json.dumps({'execution_plan': entries})}</answer>"
    assert outcome(text, mode) in {*ERROR_KINDS, len(entries) if isinstance(entries, list) else None}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a plan", "tags"),
        (answer(entry()) + " and more", "tags"),
        (answer(entry()) * 2, "repeated_tags"),
        ("<answer>{'execution_plan': []}</answer>", "json"),
        ("<answer>" + "[" * 100_000 + "</answer>", "json"),
        ('<answer>{"execution_plan": [], "execution_plan": []}</answer>', "json"),
        ("<answer>[]</answer>", "not_object"),
        (answer("a step"), "not_object"),
        ('<answer>{"plan": []}</answer>', "keys"),
        (answer({"step_number": 1}), "keys"),
        (answer(entry(extra=1)), "keys"),
        ('<answer>{"execution_plan": {}}</answer>', "type"),
        (answer(entry(step_number=True)), "type"),
        (answer(entry(step_number=1.0)), "type"),
        (answer(entry(step_name=None)), "type"),
        (answer(entry(prompt=["a"])), "type"),
        (answer(), "num_steps"),
        (answer(*map(entry, range(1, MAX_STEPS + 2))), "num_steps"),
        (answer(*map(entry, range(1, 10_001))), "num_steps"),
        (answer(entry(0)), "numbers"),
        (answer(entry(2)), "numbers"),
        (answer(entry(1), entry(3)), "numbers"),
        (answer(entry(1), entry(1)), "numbers"),
        (answer(entry(instruction=None)), "nulls"),
        (answer(entry(prompt=None)), "nulls"),
        (answer(entry(instruction=None, prompt=None)), "nulls"),
        (answer(entry(prompt="  ")), "empty_text"),
        (answer(entry(auxiliary_text="")), "empty_text"),
        (answer(entry(1), words(2)), "mixed"),
        (answer(entry(prompt="\ud83d")), "unicode"),
        (f"<think>\ud83d</think>{answer(entry())}", "unicode"),
    ],
)
def test_broken_plans_are_errors_by_kind(text, kind):
    with pytest.raises(PlanError) as caught:
        parse_plan(text)
    assert caught.value.kind == kind


def test_the_longest_plan_is_read():
    assert len(parse_plan(answer(*map(entry, range(1, MAX_STEPS + 1)))).steps) == MAX_STEPS


def test_a_plan_of_words_belongs_to_guidance():
    assert parse_plan(answer(words(1), words(2)), Mode.GUIDANCE).is_text_only
    with pytest.raises(PlanError, match="mode: a narrative makes images"):
        parse_plan(answer(words()), Mode.NARRATIVE)


def test_only_guidance_counts_on_from_the_users_steps():
    assert [step.number for step in parse_plan(answer(entry(3), entry(4)), Mode.GUIDANCE).steps] == [3, 4]
    with pytest.raises(PlanError, match="number 3, expected 1"):
        parse_plan(answer(entry(3), entry(4)), Mode.NARRATIVE)
    with pytest.raises(PlanError, match="number 5 stands where 4 should"):
        parse_plan(answer(entry(3), entry(5)), Mode.GUIDANCE)


def test_the_prompt_file_asks_with_the_requests_images_in_their_places():
    template = PROMPT.read_text(encoding="utf-8")
    _, user = render_request(template, "a story of a fox")
    assert [part["type"] for part in user["content"]] == ["text"]
    assert user["content"][0]["text"].startswith("The request: a story of a fox\n")
    _, user = render_request(template, "first <image> then <image> go on", 2)
    assert [part["type"] for part in user["content"]] == ["text", "image", "text", "image", "text"]
    _, user = render_request(template, "go on", 1)
    assert user["content"][2]["text"].startswith("go on\n")
    with pytest.raises(ValueError, match="1 <image> marks for 2 images"):
        render_request(template, "only <image>", 2)
    with pytest.raises(ValueError, match=r"needs \{request\} once"):
        render_request("no field", "x")
