"""ISG-Bench from its rows to its figures, which are held against numbers that this file computes by itself."""

import json
from typing import Any

import pytest
from PIL import Image

from actors.store.store import Store
from evals.official import isg
from evals.official.benchmark import Output, Picture, Unreadable
from evals.official.registry import load_benchmark
from tests.support.judged_edits import judged_by, paint, values_of

BENCH = load_benchmark("isg")
WHOLE = ["text", "image", "text", "image"]
TABLE: dict[str, Any] = {
    # id: category, parts that were made, answers about two blocks, about two images, holistic; None: unreadable
    "0001": ("Style", WHOLE, (8, 9), ("Yes", "No"), 7),
    "0002": ("Style", WHOLE, (None, 10), ("Yes.", "yes"), 10),
    "0003": ("Style", WHOLE[:3], (3, 4), ("no", "no"), 2),
    "0004": ("Scene", [*WHOLE, "text"], (5, 5), ("yes", None), 5),
    "0005": ("Scene", WHOLE, (1, 1), ("yes", "yes"), None),
    "0006": ("Scene", [], (), (), None),  # nothing was made
    "0007": ("Story", WHOLE, (10, 10), ("yes", "yes"), 9),
    "0008": ("Story", ["image", "text", "image", "text"], (6, 2), ("no", "yes"), 3),
    "0009": ("Story", WHOLE, (7, 7), ("yes", "no"), 8),
    "0010": ("Guide", WHOLE, (None, None), (None, "no"), 4),
    "0011": ("Guide", WHOLE, (9, 3), ("yes", "yes"), 6),
    "0012": ("Guide", ["text"], (2, 2), ("no", "no"), 1),
}
BROKEN = "0012"
"""Its story broke off, but is judged."""


def row_of(name):
    predict = {
        "structure": {"Query": ["<query_text1>"], "Answer": ["<gen_text1>", "<gen_img1>", "<gen_text2>", "<gen_img2>"]},
        "block": {
            "questions": [
                {"subject": "<gen_text1>", "object": "<gen_img1>", "Question": "Is the text shown?"},
                {"subject": "<gen_text2>", "object": "<gen_img2>", "Question": "And the second?"},
            ]
        },
        "image": [{"image": "<gen_img2>", "question": "Is it red?"}, {"question": "Are they alike?"}],
    }
    query = [{"type": "text", "content": f"Ask {name}"}, {"type": "image", "content": f"images/{name}.png"}]
    return {"id": name, "Category": TABLE[name][0], "Query": query, "Golden": [], "predict": predict}


def write_data(folder):
    """Write rows in the published schema, and their pictures."""
    for shade, name in enumerate(TABLE):
        paint(folder / "images" / f"{name}.png", 100 + shade)
    (folder / "bench.json").write_text(json.dumps([row_of(name) for name in TABLE]))
    return folder


def read_prompts(folder):
    folder.mkdir()
    for level in ("block", "image", "holistic"):
        (folder / f"{level}.txt").write_text(f"{level}!")
    return BENCH.prompts(folder)


def answers_of(items, store):
    made = {}
    for item in items:
        kinds = TABLE[item.id][1]
        pictures = [Picture(store.put_image(Image.new("RGB", (4, 4), (n, 0, 0)))) for n in range(len(kinds))]
        parts = tuple(pictures[n] if kind == "image" else f"Text {n}." for n, kind in enumerate(kinds))
        error = "step 3 has no image" if item.id == BROKEN else None if parts else "no plan"
        made[item.id] = Output(parts, error)
    return made


def say(item, question):
    _, _, block, image, whole = TABLE[item.id]
    level, _, number = question.key.partition("-")
    said = whole if level == "holistic" else (block if level == "block" else image)[int(number)]
    if said is None:
        return "Hard to say."
    return said if level == "image" else json.dumps({"Score": said, "Judgement": "so"})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("isg")
    store, prompts = Store(root / "store"), read_prompts(root / "prompts")
    items = BENCH.read(write_data(root / "data"), store)
    return judged_by(BENCH, answers_of(items, store), items, prompts, say)


def by_hand(unreadable: bool) -> dict[str, float]:
    """Compute the judge's figures from the table; unreadable answers count as 1, or are left out."""
    blocks, images, whole = [], [], []
    for _, kinds, block, image, holistic in TABLE.values():
        if kinds:
            blocks += [1 if score is None else score for score in block if unreadable or score is not None]
            images += [0 if v is None else v.lower()[:3] == "yes" for v in image if unreadable or v is not None]
            whole += [1 if holistic is None else holistic] if unreadable or holistic is not None else []
    return {n: sum(f) / len(f) for n, f in (("block", blocks), ("image", images), ("holistic", whole))}


def test_their_figures_take_unreadable_answers_for_a_one_and_ours_leave_them_out(judged):
    figures = BENCH.official(judged, 1150)
    assert figures[0].name == "holistic"
    assert values_of(figures) == pytest.approx(by_hand(True) | {"structure": 7 / 12})
    assert values_of(figures, mended=True) == pytest.approx(by_hand(False))
    assert all(by_hand(True)[level] != by_hand(False)[level] for level in by_hand(True))


@pytest.mark.parametrize("wrong", [0.0, 5.0])
def test_an_unreadable_answer_counts_as_nothing_else(judged, monkeypatch, wrong):
    monkeypatch.setattr(isg, "UNREADABLE", wrong)
    assert values_of(BENCH.official(judged, 1150)) != pytest.approx(by_hand(True) | {"structure": 7 / 12})


def test_an_items_score_is_the_holistic_one(judged):
    ours = {name: told[-1] for name, told in TABLE.items()} | {BROKEN: None}
    assert {one.item.id: BENCH.score(one) for one in judged} == ours
    assert BENCH.weights([one.item for one in judged]) == dict.fromkeys(["Style", "Scene", "Story", "Guide"], 3)


def test_the_hand_in_is_a_line_an_item(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = answers_of(items, store)
    file = BENCH.hand_in([(item, outputs[item.id]) for item in items], tmp_path / "out", store)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["id"], line["Category"]) for line in lines] == [(name, told[0]) for name, told in TABLE.items()]
    assert [[part["type"] for part in line["output"]] for line in lines] == [told[1] for told in TABLE.values()]
    assert lines[0]["output"][0] == {"type": "text", "content": "Text 0."}
    with Image.open(lines[0]["output"][3]["content"]) as picture:
        assert picture.getpixel((0, 0)) == (3, 0, 0)


def test_the_judge_sees_the_parts_that_a_question_names(data, store, tmp_path):
    items = BENCH.read(data, store)
    output = answers_of(items, store)["0001"]
    asked = {q.key: q.parts[::2] for q in BENCH.questions(items[0], output, read_prompts(tmp_path / "prompts"))}
    assert asked == {
        "block-0": ("block!", *output.parts[:2], "Is the text shown?"),
        "block-1": ("block!", *output.parts[2:], "And the second?"),
        "image-0": ("image!", output.parts[3], "Is it red?"),
        "image-1": ("image!", *output.parts, "Are they alike?"),
        "holistic": ("holistic!", "Ask 0001", Picture(items[0].images[0]), *output.parts),
    }
    assert BENCH.num_questions(items[0]) == 5


@pytest.mark.parametrize("text", ["", "7", "Score: 0", "Score: 11"])
def test_what_is_no_score_is_unreadable(text):
    with pytest.raises(Unreadable):
        isg.read_score(text)


@pytest.mark.parametrize("text", ["", "maybe", "Yes and no", "nothing"])
def test_what_is_no_verdict_is_unreadable(text):
    with pytest.raises(Unreadable):
        isg.read_verdict(text)


def test_a_structure_is_read_however_it_is_written():
    assert isg.structure_of(["text", "image"]) == isg.structure_of("<gen_text1> <gen_image1>") == ("text", "image")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"predict": {"structure": ["?"]}}, "row 0001 has no text in its Query, or no texts and images"),
        ({"predict": {}}, "row 0001: predict has no structure"),
        ({"Category": None}, "row 0001 has no Category"),
    ],
)
def test_a_bad_row_is_named(data, store, change, wrong):
    (data / "bench.json").write_text(json.dumps([row_of("0001") | change]))
    with pytest.raises(ValueError, match=wrong):
        BENCH.read(data, store)
