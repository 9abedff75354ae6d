"""What the evaluation of stories counts: true instructions, the arm's own images, intervals over stories."""

import asyncio
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from evals.clusters import difference, share
from evals.stories import ALONE, Arm, Bar, EvalStory, StepRow, StoryEval, TryRow, read_stories
from recipes.shapes import stories as shapes
from recipes.shapes.world import parse
from rl.story.evaluation import _say, compared
from rollout.agents import FunctionPlanner, ModelCritic
from rollout.roles import JudgeError
from rollout.text.plan import Plan, PlanStep
from rollout.text.readers import READERS
from rollout.types import SamplingParams, Scores
from tests.support.fakes import FakeGenerator, FakeJudge
from tests.support.storytelling import CRITIC_PROMPT, Script, accept, reject, storyline

STORIES = [EvalStory(name, f"draw {name}", (f"{name} one", f"{name} two")) for name in ("a", "b")]


class Reads(FakeJudge):
    """Wants the image to be of its instruction."""

    async def score(self, request):
        self.requests.append(request)
        score = 9.0 if request.after == f"image of {request.instruction}" else 3.0
        return Scores(score, score)


def words(text: str, num_images: int) -> Plan:
    """Plan the steps of `STORIES` by their instructions, all but the second of b right."""
    name = text.split()[-1]
    texts = [f"{name} one", "a two" if name == "a" else "wrong"]
    return Plan(tuple(PlanStep(number, text, text, text) for number, text in enumerate(texts, 1)))


def trial(plan=words, judge=None, generator=None) -> StoryEval:
    line = replace(storyline(generator=generator), planner=FunctionPlanner(plan))
    return StoryEval(line, judge or Reads(), STORIES, Bar(7.0, 7.0))


def run(coroutine):
    return asyncio.run(coroutine)


def test_a_generator_alone_is_told_the_request_and_which_step_of_how_many():
    generator = FakeGenerator()
    arm = run(trial(generator=generator).generator_alone())
    prompts = [request.prompt for request in generator.requests]
    assert sorted(prompts) == [f"Step {number} of 2: draw {name}" for number in (1, 2) for name in "ab"]
    assert (arm.name, arm.num_images, share(arm.by_story).value) == (ALONE, 4, 0.0)


def test_steps_are_judged_by_the_true_instruction_on_the_arms_own_image_before():
    judge = Reads()
    arm = run(trial(judge=judge).planner())
    assert arm.by_story == {"a": [True, True], "b": [True, False]}
    assert {request.instruction for request in judge.requests} == {"a one", "a two", "b one", "b two"}
    assert {request.before for request in judge.requests if "two" in request.instruction} == {
        "image of a one",
        "image of b one",
    }


def with_critic(*lines: str | Exception) -> Arm:
    """Tell story b with a critic that says these lines."""
    alone = StoryEval(trial().storyline, Reads(), STORIES[1:])
    return run(alone.with_critic("sft", ModelCritic(Script(*lines), CRITIC_PROMPT, SamplingParams()), 3))


def test_a_critic_has_as_many_tries_as_the_arm():
    corrected = with_critic(accept(), reject("b two"), accept())
    assert (corrected.name, corrected.tries) == ("planner + sft", 3)
    assert corrected.by_story == {"b": [True, True]}
    assert [row.num_tries for row in corrected.rows] == [1, 2]


def test_a_critics_verdict_counts_for_nothing():
    assert with_critic(accept()).by_story == {"b": [True, False]}
    assert [row.num_tries for row in with_critic(reject("b two")).rows] == [3, 3]


def test_every_image_is_judged_and_its_verdict_kept():
    told = with_critic(accept(), reject("wrong again"), reject("b two"), accept())
    assert [row.tries for row in told.rows] == [
        (TryRow(is_accepted=True, is_right=True),),
        (TryRow(False, False), TryRow(False, False), TryRow(True, True)),
    ]
    unheard = with_critic(RuntimeError("the engine died"))
    assert unheard.rows[0].tries == (TryRow(is_accepted=None, is_right=True),)


def test_steps_that_a_plan_lacks_or_nobody_could_draw_are_not_satisfied():
    arm = run(trial(lambda text, num_images: Plan(words(text, 0).steps[:1])).planner())
    assert [(row.step, row.status, row.is_satisfied) for row in arm.rows if row.story == "a"] == [
        (1, "unjudged", True),
        (2, "missing", False),
    ]

    def refuse(text, num_images):
        raise ValueError("no")

    refused = run(trial(refuse).planner())
    assert share(refused.by_story).value == 0.0
    assert all("ValueError: no" in row.error for row in refused.rows)


def test_what_failed_on_the_way_is_told_apart_from_what_was_done_badly():
    trial_ = trial(generator=FakeGenerator(failing=1.0))
    told, at_work = Console(record=True, width=200), run(trial().planner())
    _say(told, at_work, 0.0)
    assert "error" not in told.export_text()
    assert [row.error for row in at_work.rows] == [None] * 4  # one of them is not satisfied
    out = run(trial_.planner())
    _say(told, out, 0.0)
    assert "4 of 4 steps met an error; the first, step 1 of story a: GeneratorError: " in told.export_text()

    class Once(FakeGenerator):
        async def edit(self, request):
            self.failing = float(len(self.requests) > 0)
            return await super().edit(request)

    later = replace(trial().storyline, generator=Once())
    alone = StoryEval(later, Reads(), [EvalStory("a", "draw a", ("a one",))])
    (row, *_) = run(alone.with_critic("sft", ModelCritic(Script(reject("x")), CRITIC_PROMPT, SamplingParams()), 3)).rows
    assert (row.status, row.num_tries, row.error) == ("best_of_tries", 3, "GeneratorError: out of memory")

    unheard = with_critic(RuntimeError("the engine died"))
    assert [(row.status, row.error) for row in unheard.rows] == [("unjudged", "RuntimeError: the engine died")] * 2


def test_a_judge_that_fails_ends_the_evaluation():
    with pytest.raises(JudgeError):
        run(trial(judge=FakeJudge(failing=True)).planner())


def test_shares_are_of_steps_and_intervals_are_over_stories():
    even = {str(number): [True, True, False] for number in range(20)}
    assert (share(even).low, share(even).value, share(even).high) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    # The same share, but all of a story or nothing: the steps of one story say no more than one of them.
    split = {str(number): [number < 10] * 3 for number in range(20)}
    got = share(split)
    assert got.value == 0.5
    assert got.high - got.low == pytest.approx(2 * 1.96 * (0.25 / 20) ** 0.5, abs=0.06)


def test_differences_are_paired_by_story():
    first = {str(number): [number < 10] for number in range(20)}
    second = {**first, "10": [True], "11": [True], "12": [True], "13": [True], "14": [True]}
    got = difference(first, second)
    assert got.value == pytest.approx(0.25)
    assert got.is_apart_from_zero
    assert not difference(first, first).is_apart_from_zero
    with pytest.raises(ValueError, match="expected the same ones"):
        difference(first, {"0": [True]})


@settings(max_examples=20)
@given(st.dictionaries(st.text(max_size=3), st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=8))
def test_an_interval_holds_shares_and_the_same_seed_gives_the_same(trials):
    got = share(trials)
    assert 0 <= got.low <= got.high <= 1
    assert got == share(trials)


def arm(name: str, tries: int, *satisfied: bool) -> Arm:
    return Arm(name, tries, tuple(StepRow(f"{at}", 1, good, "accepted", 1, None) for at, good in enumerate(satisfied)))


def test_every_agent_is_compared_with_what_is_there_without_it():
    arms = [
        arm(ALONE, 1, False, False),
        arm("planner", 1, True, False),
        arm("planner + sft", 1, True, False),
        arm("planner + sft", 3, True, True),
        arm("planner + rl", 1, True, False),
        arm("planner + rl", 3, True, False),
    ]
    assert {what: got.value for what, got in compared(arms)} == {
        "planner over generator alone": 0.5,
        "planner + sft over planner, 3 tries": 0.5,
        "planner + rl over planner, 3 tries": 0.0,
        "planner + rl over planner + sft, 3 tries": -0.5,
    }


def test_further_tries_of_a_critic_are_compared_with_fewer():
    arms = [arm(ALONE, 1, False), arm("planner", 1, False)]
    arms += [arm(f"planner + {name}", tries, tries == 5) for name in ("sft", "rl") for tries in (1, 3, 5)]
    got = {what: interval.value for what, interval in compared(arms) if "tries over" in what}
    assert got == {"planner + sft, 5 tries over 3": 1.0, "planner + rl, 5 tries over 3": 1.0}


def test_stories_are_read_from_a_file(tmp_path):
    file = tmp_path / "stories.jsonl"
    told = {"id": 1, "request": "r", "instructions": ["a\u2028", "b"]}
    file.write_text(json.dumps(told, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert read_stories(file) == [EvalStory("1", "r", ("a\u2028", "b"))]


@pytest.mark.parametrize(
    "line",
    [
        *("no", "{}", '{"id": 1, "request": "r", "instructions": "a"}', "[]", "", "[" * 100_000),
        '{"id": 1, "request": "r", "request": "s", "instructions": ["a"]}',
        r'{"id": 1, "request": "r \ud83d", "instructions": ["a"]}',
        r'{"id": 1, "request": "r", "instructions": ["a \ud83d"]}',
    ],
)
def test_a_bad_file_of_stories_is_explained(line, tmp_path):
    (tmp_path / "stories.jsonl").write_text(line)
    with pytest.raises(ValueError, match=r"stories\.jsonl"):
        read_stories(tmp_path / "stories.jsonl")


def test_a_file_of_stories_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.jsonl cannot be read: No such file"):
        read_stories(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(ValueError, match=r"latin\.jsonl is not text in UTF-8 \(byte 0xe9 at line 1, byte 9 of it\)"):
        read_stories(tmp_path / "latin.jsonl")


@pytest.mark.parametrize("form", ["then", "show"])
def test_stories_of_the_shapes_world_have_2_to_8_steps_and_its_planner_reads_them(form):
    drawn = shapes.eval_stories(21, form)
    assert sorted({len(story.instructions) for story in drawn}) == [2, 3, 4, 5, 6, 7, 8]
    assert drawn == shapes.eval_stories(21, form)
    for story in drawn:
        steps = shapes.plan(story.request, 0).steps
        assert tuple(step.instruction for step in steps) == story.instructions
        scene = {}
        for instruction in story.instructions:
            assert {**scene, **parse(instruction)} != scene
            scene |= parse(instruction)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("Draw a cat", "cannot read 'a cat'"),
        ("Show in 3 steps: a red dot at the left", "3 steps of 1 things"),
        ("Show in 1 steps: a red dot at the left and a red box at the left", "names the left twice"),
    ],
)
def test_the_shapes_planner_refuses_what_is_not_its_grammar(request_, message):
    with pytest.raises(ValueError, match=message):
        shapes.plan(request_, 0)


def test_things_are_spread_over_the_steps_evenly():
    things = [f"a red dot at the {place}" for place in ("left", "right", "top")]
    steps = shapes.plan(f"Show in 2 steps: {' and '.join(things)}", 0).steps
    assert [step.prompt for step in steps] == [" and ".join(things[:2]), things[2]]


def test_an_arm_counts_what_was_read_leniently():
    loose = "<think>x</think><answer>{'previous_step_success': True, 'refine_prompt': ''}</answer>"
    line = replace(trial().storyline, answers=READERS["public"])
    critic = ModelCritic(Script(loose, accept()), CRITIC_PROMPT, SamplingParams())
    arm = run(StoryEval(line, Reads(), STORIES[:1]).with_critic("theirs", critic, 3))
    assert arm.leniencies == {"literal": 1, "empty_prompt": 1}
    said = io.StringIO()
    console = Console(file=said, width=200)
    _say(console, arm, 0.0)
    assert "read leniently  empty_prompt 1, literal 1" in said.getvalue()
    assert with_critic(accept()).leniencies == {}
