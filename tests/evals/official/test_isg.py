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
STYLE, SCENE, HOW_TO, VQA = "Photo Variation", "3D_object", "HowTo", "Historical"
TASK = {STYLE: "Style Transfer", SCENE: "3D Scene", HOW_TO: "Image-Text Complementation", VQA: "VQA"}
TABLE: dict[str, Any] = {
    # id: category, parts that were made, answers about two blocks, about three images, holistic; None: unreadable
    "0001": (STYLE, WHOLE, (8, 9), ("Yes", "No", "yes"), 7),
    "0002": (STYLE, WHOLE, (None, 10), ("Yes", "yes", "yes"), 10),
    "0003": (STYLE, WHOLE[:3], (), (), 2),
    "0004": (SCENE, [*WHOLE, "text"], (), (), 5),
    "0005": (SCENE, WHOLE, (2, 1), ("no", "yes", "yes"), None),
    "0006": (SCENE, [], (), (), None),  # nothing was made
    "0007": (HOW_TO, WHOLE, (10, 10), (None, "yes", "yes"), 9),
    "0008": (HOW_TO, ["image", "text", "image", "text"], (), (), 3),
    "0009": (HOW_TO, WHOLE, (7, 6), ("yes", "no", None), 8),
    "0010": (VQA, WHOLE, (None, None), (), 4),
    "0011": (VQA, WHOLE, (9, 3), (), 6),
    "0012": (VQA, ["text"], (), (), 1),
}
BROKEN = "0012"
"""Its story broke off, but is judged."""
FILE = '''
_TEXT_TEXT_JUDGE_PROMPT = """TT {requirement} | {text1} | {text2} | {question}"""
_TEXT_IMAGE_JUDGE_PROMPT = """TI {requirement} | {text} | {question}"""
_IMAGE_IMAGE_JUDGE_PROMPT = """II {requirement} | {question}"""
_DSG_PROMPT = """DSG {{"Judge": "Yes"}} {question}"""
_EVALUATE_WHOLE_W_GT_PROMPT = ["""Query:
""", "Answer:", "Golden:", "Judge."]
VQA_dict = {"Yes_No": "say yes or no", "Score": "give a score"}
'''


def row_of(name):
    def block(subject, other):
        return {"subject": f"<{subject}>", "object": f"<{other}>", "Question": f"Does <{subject}> go with <{other}>?"}

    def about(number, image, needs):
        return {"id": number, "image": f"<gen_img{image}>", "Question": f"Red {number}?", "Preliminary": needs}

    images = {"image_qa": {"tuple": [about(1, 2, []), about(2, 1, []), about(3, 2, [1])]}}
    predict = {
        "structure": {"Query": ["<query_text1>"], "Answer": ["<gen_text1>"]},
        "block_qa": {"questions": [block("gen_text1", "gen_img1"), block("gen_text1", "gen_text2")]},
        **({} if TABLE[name][0] == VQA else images),
    }
    query = [{"type": "text", "content": f"Ask {name}"}, {"type": "image", "content": f"images/{name}.png"}]
    golden = [{"type": kind, "content": "images/0001.png" if kind == "image" else "gold"} for kind in WHOLE]
    return {"id": name, "Category": TABLE[name][0], "Query": query, "Golden": golden, "predict": predict}


def write_data(folder):
    """Write rows in the published schema, and their pictures, where a checkout has them."""
    for shade, name in enumerate(TABLE):
        paint(folder / "ISG_eval" / "images" / f"{name}.png", 100 + shade)
    (folder / "ISG_eval" / "few_shot.json").write_text("{}")
    lines = [json.dumps(row_of(name)) for name in TABLE]
    (folder / "ISG_eval" / "ISG-Bench.jsonl").write_text("\n".join(lines))
    return folder


def read_prompts(folder):
    (folder / "ISG_eval").mkdir(parents=True)
    (folder / "ISG_eval" / "get_judge_prompt.py").write_text(FILE)
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
    if level == "holistic":
        return json.dumps({"coherence": {"score": 1, "explanation": "no"}, "overall_score": said})
    return json.dumps({"Judge": said, "Reason": "yes and no, 10 of 10"})


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


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def by_hand(is_theirs: bool) -> dict[str, float]:
    """Compute the figures from the table: an item's mean, then the task's, then that of the tasks."""
    rows: dict[str, dict[str, list[Any]]] = {}
    for category, kinds, block, image, holistic in TABLE.values():
        found = rows.setdefault(TASK[category], {"structure": [], "block": [], "image": [], "holistic": []})
        exact, was_made = kinds == WHOLE, bool(kinds)
        scores = [score for score in block if score is not None]
        found["structure"].append(float(exact))
        if is_theirs:
            found["block"].append(mean(scores) if scores else 1)
            found["image"].append(sum(v is not None and v.lower() == "yes" for v in image[:2]) / 3)
            found["holistic"].append(holistic or 1)
        elif was_made:
            found["block"].append(mean(scores) if scores else None if exact else 1)
            first = bool(image) and (image[0] or "").lower() == "yes"
            yes = [None if v is None else float(v.lower() == "yes") for v in image]
            yes = [*yes[:2], min(yes[2], float(first)) if image and yes[2] is not None else None]
            found["image"].append(mean(yes) if image else None if exact else 0)
            found["holistic"].append(holistic)
    del rows["VQA"]["image"]
    figures = {}
    for level in ("structure", "block", "image", "holistic"):
        means = {task: mean(found[level]) for task, found in rows.items() if level in found}
        figures[level] = mean(means.values())
        if is_theirs:
            figures |= {f"{level} {task}": value for task, value in means.items()}
    if not is_theirs:
        del figures["structure"]
    return figures


def test_their_figures_count_what_has_no_answer_and_ours_leave_it_out(judged):
    figures = BENCH.official(judged, 1150)
    assert (figures[0].name, figures[0].is_mended) == ("holistic", False)
    assert values_of(figures) == pytest.approx(by_hand(True))
    assert values_of(figures, mended=True) == pytest.approx(by_hand(False))
    assert all(by_hand(True)[level] != by_hand(False)[level] for level in by_hand(False))


@pytest.mark.parametrize("wrong", [0.0, 5.0])
def test_an_unreadable_answer_counts_as_nothing_else(judged, monkeypatch, wrong):
    monkeypatch.setattr(isg, "WORST", wrong)
    assert values_of(BENCH.official(judged, 1150)) != pytest.approx(by_hand(True))


def test_an_items_score_is_the_holistic_one(judged):
    ours = {name: told[-1] for name, told in TABLE.items()} | {BROKEN: None}
    assert {one.item.id: BENCH.score(one) for one in judged} == ours
    assert BENCH.weights([one.item for one in judged]) == dict.fromkeys(TASK.values(), 1.0)


def test_the_hand_in_is_a_line_an_item_with_the_row_that_their_script_needs(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = answers_of(items, store)
    file = BENCH.hand_in([(item, outputs[item.id]) for item in items], tmp_path / "out", store)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row_of(name) for name in TABLE]
    for line, row in zip(lines, rows, strict=True):
        assert {key: value for key, value in row.items() if key != "predict"} == {
            key: value for key, value in line.items() if key != "output"
        }
    assert [[part["type"] for part in line["output"]] for line in lines] == [told[1] for told in TABLE.values()]
    assert lines[0]["output"][0] == {"type": "text", "content": "Text 0."}
    with Image.open(lines[0]["output"][3]["content"]) as picture:
        assert picture.getpixel((0, 0)) == (3, 0, 0)


def test_the_judge_sees_the_parts_that_a_question_names(data, store, tmp_path):
    items, prompts = BENCH.read(data, store), read_prompts(tmp_path / "prompts")
    outputs = answers_of(items, store)
    output, shown = outputs["0001"], data / "ISG_eval" / "images" / "0001.png"
    asked = {q.key: q.parts for q in BENCH.questions(items[0], output, prompts)}
    given = Picture(str(shown))
    assert asked == {
        "block-0": (output.parts[1], "TI give a score | Text 0. | Does <gen_text1> go with <gen_img1>?"),
        "block-1": ("TT give a score | Text 0. | Text 2. | Does  `Text 1`  go with  `Text 2` ?",),
        "image-0": (output.parts[3], 'DSG {"Judge": "Yes"} Red 1?'),
        "image-1": (output.parts[1], 'DSG {"Judge": "Yes"} Red 2?'),
        "image-2": (output.parts[3], 'DSG {"Judge": "Yes"} Red 3?'),
        "holistic": (
            *("Query: ", "Ask 0001", given, "Answer:", *output.parts),
            *("Golden:", "gold", given, "gold", given, "Judge."),
        ),
    }
    assert BENCH.num_questions(items[0]) == 6
    wrong_structure = BENCH.questions(items[2], outputs["0003"], prompts)
    assert [question.key for question in wrong_structure] == ["holistic"]


@pytest.mark.parametrize("text", ["", "7", '{"Judge": "7"}', '{"Judge": 0}', '{"Judge": 11}', '{"Judge": true}'])
def test_what_is_no_score_is_unreadable(text):
    with pytest.raises(Unreadable):
        isg.read_score(text, "Judge")


@pytest.mark.parametrize("text", ["", "Yes", '{"Judge": "maybe"}', '{"answer": "yes"}'])
def test_what_is_no_verdict_is_unreadable(text):
    with pytest.raises(Unreadable):
        isg.read_verdict(text)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"Golden": []}, "row 0001 has no text in its Query, or nothing in its Golden"),
        ({"Query": [{"type": "image", "content": "images/no.png"}]}, r"row 0001: there is no image images/no\.png"),
        ({"predict": None}, "row 0001 has no predict"),
        ({"Category": None}, "row 0001 has no Category"),
    ],
)
def test_a_bad_row_is_named(data, store, change, wrong):
    (data / "ISG_eval" / "ISG-Bench.jsonl").write_text(json.dumps(row_of("0001") | change))
    with pytest.raises(ValueError, match=wrong):
        BENCH.read(data, store)


def test_another_checkout_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no ISG_eval/get_judge_prompt\.py: it is not a checkout"):
        BENCH.prompts(tmp_path)
    (tmp_path / "ISG_eval").mkdir()
    (tmp_path / "ISG_eval" / "get_judge_prompt.py").write_text(FILE.replace(', "Judge."', ""))
    with pytest.raises(ValueError, match="is not as in Dongping-Chen/ISG@de504cd"):
        BENCH.prompts(tmp_path)
