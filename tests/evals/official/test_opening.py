"""OpenING from its rows to its figures, which are held against numbers that this file computes by itself."""

import json
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from actors.store.store import Store
from evals.official import opening
from evals.official.benchmark import Output, Picture, Reading, Unreadable
from evals.official.registry import load_benchmark
from tests.support.judged_edits import judged_by, paint, values_of

BENCH = load_benchmark("opening")
CRITERIA = ["Correctness", "Coherency", "Consistency", "Quality", "Alignment", "Completeness", "Richness"]
TABLE: dict[str, Any] = {
    # total_uid: meta task, the seven scores that the judge says; None: unreadable
    "1000001": ("Recipes", (10, 9, 8, 7, 6, 5, 4)),
    "1000002": ("Recipes", (1, 2, 3, 4, 5, 6, 7.5)),
    "1000003": ("Recipes", (0, 0, 0, 0, 0, 0, 0)),
    "1000004": ("Recipes", None),
    "2000001": ("Travel", (10, 10, 10, 10, 10, 10, 10)),
    "2000002": ("Travel", (3, 1, 4, 1, 5, 9, 2)),
    "2000003": ("Travel", (8, 8, 8, 8, 8, 8, 1)),
    "3000001": ("Stories", (7, 7, 7, 7, 7, 7, 0)),
    "3000002": ("Stories", (0, 0, 0, 0, 0, 0, 1)),  # nothing was made, which is judged
    "3000003": ("Stories", (2, 7, 1, 8, 2, 8, 1)),
    "3000004": ("Stories", (5, 5, 5, 6, 5, 5, 5)),
    "3000005": ("Stories", (9, 0, 9, 0, 9, 0, 9)),
}
BROKEN = "3000005"
"""Its story broke off, but is judged."""


def row_of(uid, kind):
    turns = [
        {"input": [{"text": f"<BEGIN> Ask {uid} <image>", "image": f"./images/{uid}-i-0.jpg"}, {"text": "in steps"}]},
        {"output": [{"text": "Golden", "image": f"./images/{uid}-o-0.jpg"}]},
    ]
    row = {"total_uid": uid, "meta_task_id": uid[0], "meta_task_name": kind, "subtask_id": "1", "subtask_name": "s"}
    return row | {"data_id": 7, "conversations": turns}


def write_data(folder):
    """Write rows in the published schema, a line each, and their pictures."""
    for shade, uid in enumerate(TABLE):
        paint(folder / "images" / f"{uid}-i-0.jpg", 100 + shade)
    rows = [row_of(uid, kind) for uid, (kind, _) in TABLE.items()]
    (folder / "test_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def read_prompts(folder):
    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "detailed_score_system.txt").write_text("Seven criteria.\n")
    return BENCH.prompts(folder)


def answers_of(items, store):
    """Return two steps, of which the first has a picture; nothing for the one that failed."""
    made = {}
    for shade, item in enumerate(items):
        picture = Picture(store.put_image(Image.new("RGB", (4, 4), (shade * 8,) * 3)))
        error = "step 3 has no image" if item.id == BROKEN else None
        made[item.id] = Output(("First.", picture, "Second."), error)
    made["3000002"] = Output((), "no plan")
    return made


def say(item, question):
    scores = TABLE[item.id][1]
    if scores is None:
        return '{"Completeness": 8}'
    told: dict[str, Any] = dict(zip(CRITERIA, scores, strict=True))
    if item.id == "2000003":
        told = {"scores": {name: {"Score": score, "Justification": "so"} for name, score in told.items()}}
    return f"```json\n{json.dumps(told)}\n```"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("opening")
    store, prompts = Store(root / "store"), read_prompts(root / "prompts")
    items = BENCH.read(write_data(root / "data"), store)
    return judged_by(BENCH, answers_of(items, store), items, prompts, say)


def test_figures_are_means_over_the_items_that_were_answered(judged):
    means = {uid: sum(scores) / 7 for uid, (_, scores) in TABLE.items() if scores is not None}
    expected = {"mean of the 7 criteria": sum(means.values()) / 11}
    for kind, count in (("Recipes", 3), ("Travel", 3), ("Stories", 5)):
        expected[kind] = sum(mean for uid, mean in means.items() if TABLE[uid][0] == kind) / count
    assert values_of(BENCH.official(judged, 2160)) == pytest.approx(expected)
    ours = dict.fromkeys(TABLE) | means | {BROKEN: None, "3000002": None}
    assert {one.item.id: BENCH.score(one) for one in judged} == pytest.approx(ours)
    assert BENCH.weights([one.item for one in judged]) == {"Recipes": 4, "Travel": 3, "Stories": 5}


@pytest.mark.parametrize("place", range(7))
def test_all_criteria_weigh_the_same(judged, place):
    answer = Reading(tuple(7.0 * (number == place) for number in range(7)))
    assert BENCH.score(replace(judged[0], readings={"criteria": answer})) == pytest.approx(1)


def test_the_hand_in_is_the_row_with_the_agents_output(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = answers_of(items, store)
    folder = BENCH.hand_in([(item, outputs[item.id]) for item in items], tmp_path / "out", store)
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{uid}.json" for uid in TABLE} | {f"{uid}-o-0.jpg" for uid in TABLE if uid != "3000002"}
    written, row = json.loads((folder / "1000002.json").read_text()), row_of("1000002", "Recipes")
    steps = [{"text": "First.", "image": "1000002-o-0.jpg"}, {"text": "Second.", "image": None}]
    assert written == row | {"conversations": [row["conversations"][0], {"output": steps}]}
    assert json.loads((folder / "3000002.json").read_text())["conversations"][1] == {"output": []}
    with Image.open(folder / "1000002-o-0.jpg") as picture:
        assert (picture.format, picture.getpixel((0, 0))) == ("JPEG", (8, 8, 8))


def test_the_judge_sees_request_and_answer_in_turn(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = answers_of(items, store)
    prompts = read_prompts(tmp_path / "checkout")
    (question,) = BENCH.questions(items[0], outputs["1000001"], prompts)
    asked = Picture(str(data / "images" / "1000001-i-0.jpg"), max_side=512)
    made = Picture(outputs["1000001"].images[0], max_side=512)
    texts = ("INPUT: Ask 1000001 <IMG_0></IMG_0>", "in steps", "\nOUTPUT: First. <IMG_1></IMG_1>", "Second.")
    end = "\nPlease only output the json result: "
    assert (question.system, question.parts) == ("Seven criteria.", (texts[0], asked, *texts[1:3], made, texts[3], end))
    assert items[0].request == "Ask 1000001\nin steps"
    (nothing,) = BENCH.questions(items[8], outputs["3000002"], prompts)
    assert nothing.parts[-2:] == ("\nOUTPUT: None", end)


def test_a_picture_without_a_text_has_an_empty_one_since_their_script_strips_it(data, store, tmp_path):
    item, picture = BENCH.read(data, store)[0], Picture(store.put_image(Image.new("RGB", (4, 4))))
    folder = BENCH.hand_in([(item, Output((picture, picture)))], tmp_path / "out", store)
    steps = json.loads((folder / f"{item.id}.json").read_text())["conversations"][1]["output"]
    assert [step["text"] for step in steps] == ["", ""]


@pytest.mark.parametrize(
    "text",
    ["", "8", '{"Completeness": 8}', json.dumps(dict.fromkeys(CRITERIA, 11)), json.dumps(dict.fromkeys(CRITERIA))],
)
def test_what_has_not_seven_scores_is_unreadable(text):
    with pytest.raises(Unreadable):
        opening.seven_scores(text)


def test_what_is_not_there_is_said(tmp_path, data, store):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="get the test set of LanceZPF/OpenING"):
        BENCH.read(tmp_path / "empty", store)
    with pytest.raises(ValueError, match=r"has no prompts/detailed_score_system\.txt: it is not a checkout"):
        BENCH.prompts(data)
    row = row_of("1", "x") | {"conversations": [{"input": []}]}
    (data / "test_data.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match="row 1: its conversations have no input with a text"):
        BENCH.read(data, store)
