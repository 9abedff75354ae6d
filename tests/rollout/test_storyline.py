"""A story on fakes: what is drawn, what is tried again, and what each failure becomes."""

import asyncio
import json
from dataclasses import replace

import pytest

from rollout.agents import FunctionPlanner, ModelCritic, ModelPlanner
from rollout.roles import BudgetSpent, GeneratorError, JudgeError
from rollout.step_runner import Tried, TryStarted
from rollout.story import Planned, StepStatus, StepTold, StoryStatus, StoryTold
from rollout.story_json import SCHEMA, story_as_json
from rollout.storyline import Storyline
from rollout.text.plan import Mode, Plan, PlanStep, format_plan
from rollout.text.readers import READERS
from rollout.types import Critique, Failure, ModelAnswer, Request, SamplingParams, Scores, Stage
from tests.support.fakes import FakeGenerator, FakeJudge
from tests.support.storytelling import CAT, CRITIC_PROMPT, WORDS, Script, Stumbling, accept, reject, storyline


def tell(line: Storyline, text="How do I draw a cat?", **request):
    return asyncio.run(line.tell(Request(text, **request)))


def test_an_accepted_step_is_edited_by_the_next():
    line = storyline(Script(accept()))
    story = tell(line)
    assert story.status is StoryStatus.DONE
    assert [step.status for step in story.steps] == [StepStatus.ACCEPTED] * 2
    assert [(request.image, request.prompt) for request in line.generator.requests] == [
        (None, "draw a head"),
        ("image of draw a head", "draw a body"),
    ]
    assert story.steps[1].image == "image of draw a body"
    assert story.steps[1].plan.auxiliary_text == "Then the body."


def test_a_rejected_try_is_drawn_again_by_the_critics_prompt_with_a_new_seed():
    critic = Script(reject("a bigger head"), accept())
    line = storyline(critic)
    first = tell(line).steps[0]
    assert [attempt.prompt for attempt in first.tries] == ["draw a head", "a bigger head"]
    assert first.tries[0].critique == Critique(False, "a bigger head", "it is missing")
    assert (first.chosen, first.image) == (2, "image of a bigger head")
    assert len({request.seed for request in line.generator.requests}) == 3
    # Both tries are edits of the same image: a rejected one is nothing to go on from.
    assert [request.image for request in line.generator.requests[:2]] == [None, None]


def test_the_critic_sees_the_image_before_and_after_the_instruction_and_the_prompt_of_the_try():
    critic = Script(accept(), reject("a round body"), accept())
    tell(storyline(critic))
    assert critic.requests[0].images == (None, "image of draw a head")
    assert critic.requests[2].images == ("image of draw a head", "image of a round body")
    assert critic.requests[2].messages[0]["content"][-1] == {"type": "text", "text": "a body|a round body"}


def test_the_plans_prompt_may_stand_for_the_instruction():
    critic = Script(reject("a round head"), accept())
    tell(replace(storyline(critic), shown="prompt"))
    asked = [request.messages[0]["content"][-1]["text"] for request in critic.requests]
    assert asked[:2] == ["draw a head|draw a head", "draw a head|a round head"]


@pytest.mark.parametrize("tries", [1, 3])
def test_where_no_try_is_accepted_the_last_one_is_shown(tries):
    story = tell(storyline(Script(reject("again")), tries=tries))
    assert {step.status for step in story.steps} == {StepStatus.BEST_OF_TRIES}
    assert {len(step.tries) for step in story.steps} == {step.chosen for step in story.steps} == {tries}
    assert story.status is StoryStatus.DONE


def test_a_requests_own_number_of_tries_comes_first():
    assert len(tell(storyline(Script(reject("again"))), tries=2).steps[0].tries) == 2


class Taste(FakeJudge):
    """Likes one image, fails on another."""

    async def score(self, request):
        if request.after == "image of unreadable":
            raise JudgeError("no JSON")
        score = 9.0 if request.after == "image of best" else 2.0
        return Scores(score, score)


@pytest.mark.parametrize(
    ("prompts", "chosen"),
    [(("best", "worse"), 2), (("worse", "worse still"), 3), (("best", "unreadable"), 2), (("unreadable", "best"), 3)],
)
def test_a_judge_chooses_between_tries_that_were_not_accepted(prompts, chosen):
    critic = Script(*(reject(prompt) for prompt in prompts), reject("never drawn"))
    first = tell(storyline(critic, judge=Taste(), tries=3)).steps[0]
    assert (first.status, first.chosen) == (StepStatus.BEST_OF_TRIES, chosen)
    assert [attempt.scores is None for attempt in first.tries] == [
        attempt.prompt == "unreadable" for attempt in first.tries
    ]


@pytest.mark.parametrize(("how_sure", "chosen"), [((0.1, 0.3, 0.2), 2), ((0.3, 0.1, 0.3), 3), ((0.0, 0.0, 0.0), 3)])
def test_the_critic_may_choose_the_try_of_which_it_was_surest(how_sure, chosen):
    sure = iter(how_sure * 2)

    class Unsure:
        async def criticise(self, shown, seed, repeat=0):
            return ModelAnswer(seed, reject("again"), success_probability=next(sure))

    line = replace(storyline(tries=3), critic=Unsure())
    assert tell(line).steps[0].chosen == 3
    sure = iter(how_sure * 2)
    first = tell(replace(line, is_surest_shown=True)).steps[0]
    assert (first.status, first.chosen) == (StepStatus.BEST_OF_TRIES, chosen)


def test_the_judge_is_not_asked_where_the_critic_accepts():
    class Never(FakeJudge):
        async def score(self, request):
            raise AssertionError("asked")

    assert tell(storyline(Script(accept()), judge=Never())).steps[0].tries[0].failure is None


def test_without_a_critic_the_first_image_is_taken():
    story = tell(storyline())
    assert [(step.status, len(step.tries)) for step in story.steps] == [(StepStatus.UNJUDGED, 1)] * 2
    assert story.status is StoryStatus.DONE


def test_an_unreadable_critique_is_asked_for_again_with_a_new_seed():
    critic = Script("it is fine", RuntimeError("the engine\nrestarts"), accept())
    (attempt,) = tell(storyline(critic)).steps[0].tries
    assert attempt.is_accepted
    assert [answer.text for answer in attempt.answers] == ["it is fine", "", accept()]
    assert [(answer.error or "").split(":")[0] for answer in attempt.answers] == ["tags", "RuntimeError", ""]
    assert len({request.seed for request in critic.requests[:3]}) == 3


def test_where_no_critique_can_be_read_the_image_is_kept_unjudged_and_no_more_are_drawn():
    line = storyline(Script("<think>I wonder..."))
    story = tell(line)
    assert [step.status for step in story.steps] == [StepStatus.UNJUDGED] * 2
    assert [answer.error[:15] for answer in story.steps[0].tries[0].answers] == ["truncated: tags"] * 3
    assert len(line.generator.requests) == 2


def test_greedy_answers_that_cannot_be_read_are_drawn_at_random():
    critic = Script("it is fine", accept())
    line = replace(storyline(), critic=ModelCritic(critic, CRITIC_PROMPT, SamplingParams(temperature=0.0)))
    tell(line)
    assert [request.params.temperature for request in critic.requests] == [0.0, 0.7, 0.0]


def test_a_failed_generation_costs_a_try_and_no_more():
    line = storyline(Script(reject("a cursed head"), accept()), generator=Stumbling("a cursed head"), tries=3)
    first = tell(line).steps[0]
    assert [attempt.image is None for attempt in first.tries] == [False, True, True]
    assert first.tries[1].failure == Failure(Stage.GENERATE, "GeneratorError: out of memory")
    assert (first.status, first.chosen) == (StepStatus.BEST_OF_TRIES, 1)


@pytest.mark.parametrize("error", [GeneratorError("refused"), BudgetSpent("33 of 33 calls")])
def test_a_step_without_any_image_ends_the_story_and_keeps_what_was_made(error):
    plan = Plan((*CAT.steps, PlanStep(3, "Tail", "a tail", "draw a tail")))
    generator = Stumbling("draw a body", error=error)
    story = tell(storyline(Script(accept()), plan=plan, generator=generator, tries=2))
    assert [step.status for step in story.steps] == [StepStatus.ACCEPTED, StepStatus.FAILED, StepStatus.SKIPPED]
    assert story.status is StoryStatus.INCOMPLETE
    assert story.error == f"step 2 has no image: {type(error).__name__}: {error}"
    assert story.steps[0].image == "image of draw a head"


def test_guidance_goes_on_from_the_last_image_it_was_given():
    line = storyline(Script(accept()), num_references=1)
    tell(line, images=("a.png", "b.png"))
    assert [(request.image, request.references) for request in line.generator.requests] == [
        ("b.png", ("a.png",)),
        ("image of draw a head", ("b.png",)),
    ]


def test_references_are_earlier_images_the_newest_first():
    steps = tuple(PlanStep(number, f"{number}", f"{number}", f"{number}") for number in range(1, 5))
    line = storyline(plan=Plan(steps), num_references=2)
    story = tell(line)
    assert [request.references for request in line.generator.requests] == [
        (),
        (),
        ("image of 1",),
        ("image of 2", "image of 1"),
    ]
    assert story.steps[3].references == ("image of 2", "image of 1")
    assert {request.references for request in storyline().generator.requests} == set()


def test_an_answer_in_words_draws_nothing():
    line = storyline(Script(accept()), plan=WORDS)
    story = tell(line, images=("a.png",))
    assert [step.status for step in story.steps] == [StepStatus.TEXT] * 2
    assert (line.generator.requests, story.status) == ([], StoryStatus.DONE)
    assert [step.image for step in story.steps] == [None, None]


def planned_by(*lines: str | Exception) -> tuple[Storyline, Script]:
    script = Script(*lines)
    planner = ModelPlanner(script, "{request}", SamplingParams())
    return replace(storyline(Script(accept())), planner=planner), script


def test_a_plan_that_cannot_be_read_is_asked_for_again_with_a_new_seed():
    line, script = planned_by("let me see", TimeoutError(), format_plan(CAT))
    story = tell(line)
    assert story.status is StoryStatus.DONE
    assert [(answer.error or "").split(":")[0] for answer in story.plan_answers] == ["tags", "TimeoutError", ""]
    assert len({request.seed for request in script.requests}) == 3


@pytest.mark.parametrize(
    ("line", "error"),
    [("no", "tags: "), (TimeoutError("busy"), "TimeoutError: busy"), (format_plan(WORDS), "mode: a narrative")],
)
def test_without_a_plan_the_status_says_so_and_the_answers_are_kept(line, error):
    story = tell(planned_by(line)[0])
    assert (story.status, story.plan, story.steps) == (StoryStatus.UNPLANNED, None, ())
    assert story.error.startswith(f"no plan in 3 answers; the last one: {error}")
    assert len(story.plan_answers) == 3


def test_the_planner_gets_the_request_with_its_images():
    line, script = planned_by(format_plan(WORDS))
    tell(line, text="What is it?", images=("a.png",))
    (request,) = script.requests
    assert request.images == ("a.png",)
    assert request.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "What is it?"}]


def test_a_function_that_cannot_plan_is_an_answer_too():
    def refuse(text, num_images):
        raise ValueError("cannot read it")

    story = tell(replace(storyline(), planner=FunctionPlanner(refuse)))
    assert story.error.endswith("ValueError: cannot read it")


def test_events_tell_a_story_as_it_happens():
    async def watch():
        return [event async for event in storyline(Script(reject("again"), accept())).events(Request("a cat"))]

    events = asyncio.run(watch())
    tried = [TryStarted, Tried]
    assert [type(event) for event in events] == [Planned, *tried, *tried, StepTold, *tried, StepTold, StoryTold]
    assert [event.story.status for event in events if isinstance(event, StepTold)] == [StoryStatus.TELLING] * 2
    assert len(events[5].story.steps) == 1


def test_closing_the_events_ends_the_work():
    line = storyline(Script(accept()))

    async def leave():
        events = line.events(Request("a cat"))
        async for event in events:
            if isinstance(event, StepTold):
                break
        await events.aclose()

    asyncio.run(leave())
    assert len(line.generator.requests) == 1


def test_equal_requests_are_told_alike_and_seeds_differ_by_request():
    def seeds(**request):
        line = storyline(Script(accept()))
        tell(line, **request)
        return [request.seed for request in line.generator.requests]

    assert seeds() == seeds()
    assert not set(seeds()) & set(seeds(seed=1))
    assert not set(seeds()) & set(seeds(text="How do I draw a dog?"))


def test_many_stories_are_told_at_once():
    class Slow(FakeGenerator):
        running = most = 0

        async def edit(self, request):
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            return await super().edit(request)

    line = storyline(Script(accept()), generator=Slow())

    async def all_at_once():
        return await asyncio.gather(*(line.tell(Request(f"cat {number}")) for number in range(20)))

    assert {story.status for story in asyncio.run(all_at_once())} == {StoryStatus.DONE}
    assert line.generator.most > 5


@pytest.mark.parametrize(("wrong", "message"), [({"text": " "}, "request is empty"), ({"tries": -1}, "tries is -1")])
def test_a_bad_request_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Request(**{"text": "a cat", **wrong}).checked()


def test_the_json_holds_everything_and_names_images_as_it_is_told():
    story = tell(storyline(Script("no", reject("again"), accept())), seed=7)
    data = json.loads(json.dumps(story_as_json(story, lambda ref: f"<{ref}>")))
    assert (data["schema"], data["status"], data["request"]["seed"]) == (SCHEMA, "done", 7)
    assert data["request"]["mode"] == Mode.NARRATIVE
    first = data["steps"][0]
    assert (first["status"], first["chosen"], first["image"]) == ("accepted", 2, "<image of again>")
    assert [answer["error"] is None for answer in first["tries"][0]["answers"]] == [False, True]
    assert first["tries"][0]["critique"] == {"success": False, "thought": "it is missing", "refine_prompt": "again"}
    assert data["steps"][1]["before"] == first["image"]
    assert data["plan"]["steps"][1]["auxiliary_text"] == "Then the body."
    assert json.loads(data["plan_answers"][0]["text"].split("<answer>")[1].split("</answer>")[0])


LOOSE = "<think>x</think><answer>{'previous_step_success': %s, 'refine_prompt': '%s'}</answer>"


def test_a_public_checkpoints_answers_are_read_and_what_was_forgiven_is_in_the_story():
    step = "{'step_number': 1, 'instruction': 'a cat', 'prompt': 'cat', 'auxiliary_text': None}"
    plan = f"```json\n{{'execution_plan': [{step}]}}"
    critic = Script(LOOSE % (False, "a bigger cat"), LOOSE % (True, ""))
    line = replace(
        storyline(critic, answers=READERS["public"]),
        planner=ModelPlanner(Script(plan), "Plan {request}", SamplingParams()),
    )
    story = tell(line)
    assert story.status is StoryStatus.DONE
    assert [attempt.prompt for attempt in story.steps[0].tries] == ["cat", "a bigger cat"]
    assert story.steps[0].tries[1].critique == Critique(True, "a bigger cat", "x"), "a success keeps its own prompt"
    assert story.leniencies == {"no_tags": 1, "fence": 1, "literal": 3, "no_step_name": 1, "empty_prompt": 1}
    data = json.loads(json.dumps(story_as_json(story, str)))
    assert data["leniencies"] == story.leniencies
    assert data["steps"][0]["tries"][0]["answers"][0]["leniencies"] == ["literal"]
    strict = tell(replace(line, answers=READERS["contract"]))
    assert (strict.status, strict.leniencies) == (StoryStatus.UNPLANNED, {})
    assert "leniencies" not in json.dumps(story_as_json(strict, str))
