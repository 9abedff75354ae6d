import asyncio

from evals.official.alone import one_step
from evals.official.benchmark import Form, Output, Picture
from evals.official.told import output_of
from rollout.agents import FunctionPlanner
from rollout.storyline import Storyline
from rollout.text.readers import READERS
from rollout.types import Request
from tests.support.fakes import FakeGenerator
from tests.support.storytelling import WORDS, Script, Stumbling, storyline


def told(line, *images):
    return asyncio.run(line.tell(Request("a cat", images)))


def test_a_story_is_texts_and_images_in_turn():
    output = output_of(told(storyline()), Form.STORY)
    assert output == Output(
        ("a head", Picture("image of draw a head"), "Then the body.", Picture("image of draw a body"))
    )
    assert output.text == "a head\n\nThen the body."
    assert output.images == ("image of draw a head", "image of draw a body")


def test_an_image_is_the_last_one():
    assert output_of(told(storyline()), Form.IMAGE) == Output((Picture("image of draw a body"),))


def test_what_of_the_agents_answers_was_forgiven_is_told():
    literal = "<think>it is</think><answer>{'previous_step_success': True, 'refine_prompt': ''}</answer>"
    line = storyline(Script(literal), answers=READERS["public"])
    output = output_of(told(line), Form.IMAGE)
    assert output.error is None
    assert output.leniencies == {"literal": 2, "empty_prompt": 2}


def test_an_image_of_an_earlier_step_is_no_answer():
    story = told(storyline(generator=Stumbling("draw a body")))
    assert output_of(story, Form.EDIT) == Output((), "step 2 has no image: GeneratorError: out of memory")
    assert output_of(story, Form.STORY).images == ("image of draw a head",)
    assert output_of(story, Form.STORY).error == "step 2 has no image: GeneratorError: out of memory"


def test_a_plan_of_words_has_no_image():
    story = told(storyline(plan=WORDS), "before")
    assert output_of(story, Form.EDIT).error == "the plan has words alone, no image"
    assert output_of(story, Form.STORY) == Output(("Because.", "Therefore."))


def test_a_story_without_a_plan_says_why():
    assert "no plan in 3 answers" in str(output_of(told(storyline(plan=WORDS)), Form.IMAGE).error)


def test_the_generator_alone_gets_the_request_as_it_is():
    generator = FakeGenerator()
    story = asyncio.run(
        Storyline(FunctionPlanner(one_step), generator).tell(Request("Turn <image> into <image>.", ("a", "b"), seed=3))
    )
    assert output_of(story, Form.EDIT) == Output((Picture("image of Turn  into ."),))
    assert [(request.image, request.prompt) for request in generator.requests] == [("b", "Turn  into .")]
