"""RISEBench from its rows to its figures, which are held against numbers that this file computes by itself."""

import json
from itertools import combinations
from statistics import fmean
from typing import Any

import pytest
from PIL import Image

from actors.store.store import Store
from evals.official import rise
from evals.official.benchmark import Unreadable
from evals.official.registry import load_benchmark
from tests.support.judged_edits import edits_of, judged_by, paint, values_of

T, C, S, L = (f"{name}_reasoning" for name in ("temporal", "causal", "spatial", "logical"))
BENCH = load_benchmark("rise")
TABLE: dict[str, Any] = {
    # index: category, consistency_free, (consistency, reasoning, quality) as the judge says them; None: unreadable
    "t1": (T, None, (5, 5, 5)),
    "t2": (T, True, (1, 5, 5)),
    "t3": (T, float("nan"), (2, 4, 5)),
    "c1": (C, False, (4, 1, 5)),
    "c2": (C, True, (5, 1, 1)),
    "c3": (C, None, (1, 5, 5)),
    "s1": (S, None, (1, 1, 1)),
    "s2": (S, None, (3, None, 5)),
    "s3": (S, "1", (4, 3, 2)),
    "s4": (S, None, (None, 5, 4)),
    "l1": (L, None, (1, 1, None)),
    "l2": (L, None, (0, 1, None)),
    "l3": (L, None, (1, 0, None)),
    "l4": (L, None, (3, 1, None)),
}
TEXTS = (
    *("consist", "reasoning", "reasoning_w_input", "generation", "spatial_cons", "spatial_ref", "spatial_ref_w_input"),
    *("spatial_ref_img", "spatial_qual", "logical_cons_ans", "logical_cons", "logical_txt", "logical_img"),
    "logical_img_wo_q",
)


def write_data(folder):
    """Write rows in the published schema, and their pictures."""
    rows: list[dict[str, Any]] = []
    for shade, (name, (category, free, _)) in enumerate(TABLE.items()):
        paint(folder / f"{category}_images" / f"{name}.png", 100 + shade)
        row: dict[str, Any] = {"index": name, "category": category, "instruction": f"change {name}", "subtask": "Time"}
        row |= {"image": f"{category}_images/{name}.png", "consistency_free": free, "reasoning_img": None}
        rows.append(row | ({"reference_txt": f"as {name}"} if category == L else {"reference": f"as {name}"}))
    rows[3]["reasoning_img"] = rows[7]["reasoning_img"] = True
    paint(folder / "answers" / "l4.png", 200)
    rows[-1] |= {"reference_txt": None, "reference_img": "answers/l4.png"}
    rows[8] |= {"reference": None, "reference_img": "answers/l4.png"}
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def read_prompts(folder):
    """Write a checkout's file of texts, each of which says its name."""
    folder.mkdir()
    fields = "{instruct} / {reference} / {{score}}"
    (folder / "utils.py").write_text("".join(f'prompt_{name} = """{name}: {fields}"""\n' for name in TEXTS))
    return BENCH.prompts(folder)


def say(item, question):
    told = dict(zip(("consistency", "reasoning", "quality"), TABLE[item.row["index"]][2], strict=True))
    score = told[question.key.removeprefix("logical-")]
    return "I cannot say." if score is None else f"It was asked for 5.\n**Final Score:** {score}."


def judge(data, store, prompts, failed=()):
    items = BENCH.read(data, store)
    return judged_by(BENCH, edits_of(items, store, failed=failed), items, prompts, say)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture
def prompts(tmp_path):
    return read_prompts(tmp_path / "prompts")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("rise")
    return judge(write_data(root / "data"), Store(root / "store"), read_prompts(root / "prompts"))


def by_hand(all_free: bool, left_out: tuple[str, ...] = ()) -> dict[str, float]:
    """Compute each figure from the table and the published formula; `all_free` is the trap, which scores alone have."""
    scores, accurate, categories = {}, {}, {}
    for name, (category, free, told) in TABLE.items():
        categories[name], accurate[name] = category, 0.0
        c, r, q = told
        is_free = free in (True, "1")
        needed = (c, r) if category == L else (r, q) if is_free else (c, r, q)
        if None in needed or name in left_out:
            continue
        if category == L:
            c, r = 4 * min(c, 1) + 1, 4 * min(r, 1) + 1
            score, accurate[name] = 0.3 * c + 0.7 * r, 100.0 * (c == r == 5)
        else:
            score = 0.8 * r + 0.2 * q if is_free or all_free else 0.3 * c + 0.5 * r + 0.2 * q
            accurate[name] = 100.0 * (r == q == 5 and (is_free or c == 5))
        scores[name] = 25 * ((max(1, score / 2) if r == 1 else score) - 1)
    found = {"accuracy": fmean(accurate.values()), "score": fmean(scores.values())}
    for category in (T, C, S, L):
        found[f"accuracy {category}"] = fmean(accurate[name] for name in TABLE if categories[name] == category)
        found[f"score {category}"] = fmean(scores[name] for name in scores if categories[name] == category)
    return found


def test_their_scores_take_every_row_for_free_and_their_accuracy_only_marked_ones(judged):
    figures = BENCH.official(judged, 360)
    assert (figures[0].name, figures[0].is_mended) == ("accuracy", False)
    assert values_of(figures) == pytest.approx(by_hand(all_free=True))
    assert values_of(figures, mended=True) == pytest.approx(by_hand(all_free=False))
    assert {figure.name.split()[0] for figure in figures if figure.why and not figure.is_mended} == {"score"}
    assert by_hand(all_free=True)["score"] != by_hand(all_free=False)["score"]
    assert by_hand(all_free=True)["accuracy"] == by_hand(all_free=False)["accuracy"]


def test_without_the_column_their_scores_are_the_mended_ones(data, store, prompts):
    path = data / "rows.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{k: v for k, v in row.items() if k != "consistency_free"} for row in rows]))
    figures = BENCH.official(judge(data, store, prompts), 360)
    assert values_of(figures) == pytest.approx(values_of(figures, mended=True))


def test_their_script_ends_where_a_picture_is_missing(data, store, prompts):
    figures = BENCH.official(judge(data, store, prompts, failed=(f"{T}-t1", f"{S}-s4")), 360)
    theirs = {(figure.value, figure.why) for figure in figures if not figure.is_mended}
    assert theirs == {(None, "FileNotFoundError: 2 of 14 pictures are missing")}
    assert values_of(figures, mended=True) == pytest.approx(by_hand(all_free=False, left_out=("t1", "s4")))


@pytest.mark.parametrize(
    ("table", "first", "second"),
    [(table, *pair) for table in ("WEIGHTS", "FREE", "LOGICAL") for pair in combinations(getattr(rise, table), 2)],
)
def test_no_two_weights_can_be_exchanged(judged, monkeypatch, table, first, second):
    weights = getattr(rise, table)
    monkeypatch.setattr(rise, table, weights | {first: weights[second], second: weights[first]})
    figures = BENCH.official(judged, 360)
    theirs, ours = values_of(figures), values_of(figures, mended=True)
    expected = pytest.approx(by_hand(all_free=True)), pytest.approx(by_hand(all_free=False))
    assert (theirs, ours) != expected


@pytest.mark.parametrize("column", ["reasoning_img", "subtask"])
def test_their_script_ends_where_the_file_lacks_a_column(data, store, prompts, column):
    path = data / "rows.json"
    path.write_text(json.dumps([{k: v for k, v in row.items() if k != column} for row in json.loads(path.read_text())]))
    judged = judge(data, store, prompts)
    theirs = [figure for figure in BENCH.official(judged, 360) if not figure.is_mended]
    assert {(figure.value, figure.why) for figure in theirs} == {(None, f"KeyError: {column}")}
    assert None not in values_of(BENCH.official(judged, 360), mended=True).values()


def test_an_items_score_is_its_accuracy_and_none_without_an_answer(judged):
    scores = {one.item.row["index"]: BENCH.score(one) for one in judged}
    assert scores == {
        **dict.fromkeys(TABLE, 0.0),
        **dict.fromkeys(("t1", "t2", "l1", "l4"), 100.0),
        **dict.fromkeys(("s2", "s4"), None),
    }
    assert BENCH.weights([one.item for one in judged]) == {T: 3, C: 3, S: 4, L: 4}


def test_the_hand_in_lies_as_their_script_looks_for_it(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = edits_of(items, store, failed=(f"{S}-s4",))
    folder = BENCH.hand_in([(item, outputs[item.id]) for item in items], tmp_path / "out", store)
    assert folder == tmp_path / "out" / "outputs" / "interleave"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {f"images/{category}/{name}.png" for name, (category, _, _) in TABLE.items() if name != "s4"}
    assert Image.open(folder / "images" / L / "l4.png").getpixel((0, 0)) == (13, 0, 0)


def test_the_judge_sees_what_a_question_is_about(data, store, prompts):
    items = {item.row["index"]: item for item in BENCH.read(data, store)}
    outputs = edits_of(list(items.values()), store)
    outputs = {name: outputs[item.id] for name, item in items.items()}

    def asked(name):
        return {
            question.key: (question.parts[0], [part.ref for part in question.parts[1:]])
            for question in BENCH.questions(items[name], outputs[name], prompts)
        }

    made = {name: output.images[0] for name, output in outputs.items()}
    source = {name: item.images[0] for name, item in items.items()}
    assert asked("t3") == {
        "consistency": ("consist: change t3 / as t3 / {score}", [source["t3"], made["t3"]]),
        "reasoning": ("reasoning: change t3 / as t3 / {score}", [made["t3"]]),
        "quality": ("generation: change t3 / as t3 / {score}", [made["t3"]]),
    }
    assert list(asked("c2")) == ["reasoning", "quality"]
    assert asked("c1")["reasoning"] == ("reasoning_w_input: change c1 / as c1 / {score}", [source["c1"], made["c1"]])
    assert {key: text.partition(":")[0] for key, (text, _) in asked("s1").items()} == {
        "consistency": "spatial_cons",
        "reasoning": "spatial_ref",
        "quality": "spatial_qual",
    }
    assert asked("s2")["reasoning"] == ("spatial_ref_w_input: change s2 / as s2 / {score}", [source["s2"], made["s2"]])
    right = str(data / "answers" / "l4.png")
    assert asked("s3")["reasoning"] == ("spatial_ref_img: change s3 /  / {score}", [right, made["s3"]])
    assert asked("l1") == {
        "logical-consistency": ("logical_cons_ans: change l1 / as l1 / {score}", [source["l1"], made["l1"]]),
        "logical-reasoning": ("logical_txt: change l1 / as l1 / {score}", [made["l1"]]),
    }
    assert asked("l4") == {
        "logical-consistency": ("logical_cons: change l4 /  / {score}", [right, made["l4"]]),
        "logical-reasoning": ("logical_img: change l4 /  / {score}", [right, made["l4"]]),
    }
    shown = [
        part for part in BENCH.questions(items["t3"], outputs["t3"], prompts)[0].parts if not isinstance(part, str)
    ]
    assert {part.max_side for part in shown} == {768}
    assert all(BENCH.num_questions(items[name]) == len(asked(name)) for name in items)


@pytest.mark.parametrize("text", ["", "Score 4", "Final Score: none", "Final Score: 0", "Final Score: 6"])
def test_what_is_no_final_score_is_unreadable(text):
    with pytest.raises(Unreadable):
        rise.read_score(text, is_logical=False)


def test_the_first_final_score_counts_as_in_their_script():
    assert rise.read_score("Final Score: 2. A final score: 3 would be too kind.", is_logical=False) == 2


def test_a_column_that_asks_without_the_instruction_changes_the_text_of_every_row_of_logic(data, store):
    path = data / "rows.json"
    path.write_text(json.dumps([row | {"reasoning_wo_ins": None} for row in json.loads(path.read_text())]))
    texts = {item.row["index"]: item.row["texts"]["reasoning"] for item in BENCH.read(data, store)}
    assert (texts["l4"], texts["l1"], texts["t1"]) == ("logical_img_wo_q", "logical_txt", "reasoning")


def test_a_checkout_that_lacks_a_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no utils\.py: it is not a checkout of the benchmark"):
        BENCH.prompts(tmp_path)
    (tmp_path / "utils.py").write_text("prompt_consist = 'a'")
    with pytest.raises(ValueError, match=r"utils\.py assigns no text to prompt_reasoning"):
        BENCH.prompts(tmp_path)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"image": "no.png"}, "row t1: there is no image no.png"),
        ({"reference": None}, "row t1 has no reference, reference_txt or reference_img"),
        ({"index": "../t"}, "a row: index is '../t', expected what can be the name of a file"),
        ({"instruction": None}, "row t1 has no instruction"),
    ],
)
def test_a_bad_row_is_named(data, store, change, wrong):
    rows = json.loads((data / "rows.json").read_text())
    (data / "rows.json").write_text(json.dumps([rows[0] | change, *rows[1:]]))
    with pytest.raises(ValueError, match=wrong):
        BENCH.read(data, store)
