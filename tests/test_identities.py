"""What answers are kept under, and what a run says of its services, is today what it was before kinds could be added.

The literals were computed by the code before; a change here would make every existing store and run another one's.
"""

import asyncio
from typing import Any

import pytest
from PIL import Image

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.generator.generator import Generator
from actors.generator.kind import resolve, spec_of
from actors.judge.judge import kind_of, start_judge
from actors.judge.question import Question
from actors.observer import start_observers
from actors.store.store import Store, call_key
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import describe_teacher
from rollout.types import EditRequest, ScoreRequest

RUBRICS = {
    "semantics": "judge_semantics@1:c51cce9b",
    "quality": "judge_quality@1:c6e786d4",
    "semantics_pair": "judge_semantics_pair@1:6136585b",
    "quality_pair": "judge_quality_pair@1:5434b119",
}
SHAPES = "recipes.shapes.judge.score"
SCORER = f"{SHAPES}@af03a4bbbcf51886"
ASKED: dict[str, Any] = {"kind": "openai", "model": "a/b"}
CHECKLIST = {
    "questions": "judge_checklist_questions@1:f8f19022",
    "answers": "judge_checklist_answers@1:a06d047a",
    "quality": RUBRICS["quality"],
}
JUDGES = [
    (JudgeConfig(scorer=SHAPES), {"scorer": SCORER}),
    (JudgeConfig(**ASKED), {"model": "a/b"} | RUBRICS),
    (JudgeConfig(**ASKED, rubric="checklist"), {"model": "a/b"} | CHECKLIST),
    (
        JudgeConfig(kind="vllm", model="recipes/shapes/weights/critic"),
        {"model": "critic@bbf7cf5167065806 auto {}"} | RUBRICS,
    ),
    (
        JudgeConfig(kind="ensemble", members=[{"scorer": SHAPES}, ASKED]),
        {f"0-{SHAPES}.scorer": SCORER, "1-b.model": "a/b"} | {f"1-b.{name}": label for name, label in RUBRICS.items()},
    ),
]


@pytest.mark.parametrize(("config", "described"), JUDGES)
def test_a_judge_is_described_as_before(config, described):
    assert kind_of(config).describe(config) == described
    assert list(kind_of(config).describe(config)) == list(described)


def test_a_teacher_is_described_as_before():
    prompt = "recipes/shapes/planner_prompt.txt"
    label = "planner_prompt@unversioned:6b1c004b"
    told = describe_teacher(TeacherConfig(prompt=prompt, fn=SHAPES), "planner")
    asked = describe_teacher(TeacherConfig(prompt=prompt, ask=JudgeConfig(**ASKED, call={"seed": 1})), "planner")
    assert told == {"fn": SCORER, "prompt": label}
    assert asked == {"model": "a/b", "call": "[('seed', 1)]", "prompt": label}


class Owner:
    """Notes under which name it is asked."""

    def __init__(self, answer):
        self.answer, self.keys = answer, []

    async def get(self, depends_on, payload):
        self.keys.append(call_key(**depends_on))
        return self.answer


def keys_of(handle, answer, ask):
    object.__setattr__(handle, "owner", owner := Owner(answer))
    asyncio.run(ask(handle))
    return owner.keys


def test_answers_are_kept_under_the_names_of_before(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    store = Store(tmp_path)
    image = store.put_image(Image.new("RGB", (8, 8), "red"))
    look = ScoreRequest(None, image, "a red box")
    scores = {"semantics": 1.0, "quality": 1.0}
    embedded = asyncio.run(start_judge(JudgeConfig(scorer=SHAPES, num_replicas=0), tmp_path))
    judge: Any = asyncio.run(start_judge(JudgeConfig(**ASKED, num_replicas=0, call={"seed": 1}), tmp_path))
    asked = judge.asker
    seen = asyncio.run(start_observers({"it": EvidenceConfig(fn=SHAPES, num_replicas=0)}, tmp_path, "t", None))["it"]
    config = resolve(GeneratorConfig(name="gpt-image"))
    owner: Any = Owner(None)
    spec = spec_of(config)
    assert spec is not None
    generator = Generator(config, str(tmp_path), owner, "gpt-image-1", spec)
    keys = [
        *keys_of(embedded, scores, lambda it: it.score(look)),
        *keys_of(asked, {"text": ""}, lambda it: it.ask(Question("what <image>", (image,)))),
        *keys_of(seen, 1.0, lambda it: it.observe(look)),
        *keys_of(generator, {"image": image}, lambda it: it.edit(EditRequest(image, "a box", 7))),
    ]
    assert keys == [
        "d553265c989a729686bd5a9ca99e8702ad3ffee7a75fd7a57e9aab89362a60be",
        "91b393454b37a09fbc2e6ec3d927adf8329001f0420970f97a5667b9e429830c",
        "bfc25cdd5370b6fa4e34738cb057af6676ab5f635725e0427cd69ee8abc8d956",
        "ca7b031a1c474f2bf38533c03537052a110a17cb0ad370f9082f2f3286dae792",
    ]
    assert generator.settings_digest() == "682ee86b91116659860d7398d81cf4db23b9437e90cedf9b07ba8ddaadd85fdb"
