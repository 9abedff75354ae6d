"""GEdit-Bench from its rows to its figures, which are held against numbers that this file computes by itself."""

import json
from math import sqrt
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from actors.store.store import Store
from evals.official import gedit
from evals.official.benchmark import Unreadable
from evals.official.registry import load_benchmark
from tests.support.judged_edits import edits_of, judged_by, paint, values_of

BENCH = load_benchmark("gedit")
GROUPS = [f"group_{number}" for number in range(11)]
TABLE: dict[str, Any] = {
    # id: group, is in the intersection, (SC, PQ), each as two scores; None: unreadable
    **{f"en-{number}": (GROUPS[number], number > 0, ((number, 9), (10, 10 - number / 2))) for number in range(11)},
    "en-x1": (GROUPS[0], True, ((8, 7), (3, 9))),
    "en-x2": (GROUPS[0], False, ((10, 10), None)),
    "en-x3": (GROUPS[10], True, ((2, 1), (6, 4))),
    "cn-1": (GROUPS[1], True, ((9, 8), (7, 9))),
    "cn-2": (GROUPS[2], False, ((4, 10), (5, 2))),
    "cn-3": (GROUPS[2], False, None),  # no picture was made
}


def write_data(folder):
    """Write rows in the published schema as Parquet with the pictures inside, the larger of which is the raw one."""
    rows = []
    for shade, (name, (group, is_common, _)) in enumerate(TABLE.items()):
        language, _, key = name.partition("-")
        small = paint(folder / "t" / f"{name}.png", 100 + shade)
        large = paint(folder / "t" / f"{name}_raw.png", 100 + shade, (16, 12))
        pictures = {"input_image": small, "input_image_raw": large}
        row: dict[str, Any] = {"key": f"{language}{key}", "task_type": group, "instruction": f"edit {name}"}
        row |= {"instruction_language": language, "Intersection_exist": is_common}
        rows.append(row | {c: {"bytes": path.read_bytes(), "path": None} for c, path in pictures.items()})
    (folder / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "data" / "train-0.parquet")
    return folder


def read_prompts(folder):
    """Write the prompts as VIEScore has them: strings of a Python file, some of which are joined."""
    (folder / "viescore").mkdir(parents=True)
    (folder / "viescore" / "other.py").write_text('_context_no_delimit = "another"\n')
    (folder / "viescore" / "vie_prompts.py").write_text(
        '_context_no_delimit = """You look. """\n_prompts_0shot_two_image_edit_rule = "Two {score} rules."\n'
        '_prompts_0shot_tie_rule_SC = "Asked: <instruction>"\n_prompts_0shot_rule_PQ = "One rule."\n'
    )
    return BENCH.prompts(folder)


def named(item):
    return f"{item.row['language']}-{item.row['key'].removeprefix(item.row['language'])}"


def say(item, question):
    told = TABLE[named(item)][2][("semantics", "quality").index(question.key)]
    return "8 and 6" if told is None else f'```json\n{{"score": {list(told)}, "reasoning": "so {{it}} is"}}\n```'


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("gedit")
    store, prompts = Store(root / "store"), read_prompts(root / "prompts")
    items = BENCH.read(write_data(root / "data"), store)
    return judged_by(BENCH, edits_of(items, store, failed=("group_2-cn-cn3",)), items, prompts, say)


def by_hand(part, languages, common_only=False):
    """Compute a figure from the table: the mean of the groups' means."""
    groups = {}
    for name, (group, is_common, told) in TABLE.items():
        if name[:2] in languages and told and None not in told and (is_common or not common_only):
            semantics, quality = min(told[0]), min(told[1])
            value = {"overall": sqrt(semantics * quality), "SC": semantics, "PQ": quality}[part]
            groups.setdefault(group, []).append(value)
    return sum(sum(values) / len(values) for values in groups.values()) / len(groups)


def test_their_figures_are_those_of_the_english_rows(judged):
    figures = BENCH.official(judged, 1212)
    assert figures[0].name == "en fullset overall"
    theirs = values_of(figures)
    for part in ("overall", "SC", "PQ"):
        assert theirs[f"en fullset {part}"] == pytest.approx(by_hand(part, ["en"]))
        assert theirs[f"en intersection {part}"] == pytest.approx(by_hand(part, ["en"], common_only=True))
    assert theirs["en group_0"] == pytest.approx((0 + sqrt(7 * 3)) / 2)
    whys = {figure.name: figure.why for figure in figures}
    lost = "1 of 14 left out: no picture, or no answer"
    assert (whys["en fullset overall"], whys["en intersection overall"]) == (lost, "")


def test_their_mean_is_nan_where_a_group_has_no_row(judged):
    few = [one for one in judged if one.item.group != GROUPS[4]]
    figures = {figure.name: (figure.value, figure.why) for figure in BENCH.official(few, 1212)}
    assert figures["en intersection PQ"] == (None, "nan: rows in 10 of 11 groups")
    why = "nan: rows in 10 of 11 groups; 1 of 13 left out: no picture, or no answer"
    assert figures["en fullset overall"] == (None, why)
    assert figures["en and cn fullset overall"][0] is not None


def test_their_chinese_rows_are_lost_and_ours_are_not(judged):
    figures = BENCH.official(judged, 1212)
    lost = {figure.name: (figure.value, figure.why) for figure in figures if figure.name.startswith("zh")}
    why = 'no rows: the statistics ask for "zh", the data says "cn"'
    assert lost == dict.fromkeys(["zh fullset overall", "zh intersection overall"], (None, why))
    ours = values_of(figures, mended=True)
    for part in ("overall", "SC", "PQ"):
        assert ours[f"cn fullset {part}"] == pytest.approx(by_hand(part, ["cn"]))
        assert ours[f"en and cn fullset {part}"] == pytest.approx(by_hand(part, ["en", "cn"]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_score": lambda semantics, quality: sqrt(semantics * semantics)},
        {"sample_score": lambda semantics, quality: (semantics + quality) / 2},
        {"PARTS": ("overall", "PQ", "SC")},
        {"PARTS": ("SC", "overall", "PQ")},
        {"PARTS": ("PQ", "SC", "overall")},
    ],
)
def test_no_two_parts_can_be_exchanged(judged, monkeypatch, wrong):
    for name, value in wrong.items():
        monkeypatch.setattr(gedit, name, value)
    theirs = values_of(BENCH.official(judged, 1212))
    expected = {f"en fullset {part}": by_hand(part, ["en"]) for part in ("overall", "SC", "PQ")}
    assert {name: theirs[name] for name in expected} != pytest.approx(expected)


def test_an_items_score_is_in_the_overall_figures_unit(judged):
    scores = {named(one.item): BENCH.score(one) for one in judged}
    assert (scores["cn-1"], scores["en-x2"], scores["cn-3"]) == (pytest.approx(sqrt(8 * 7)), None, None)
    assert BENCH.weights([one.item for one in judged]) == dict.fromkeys(GROUPS, 1)


def test_the_hand_in_lies_as_their_script_looks_for_it(tmp_path, store):
    items = BENCH.read(write_data(tmp_path / "data"), store)
    outputs = edits_of(items, store, failed=("group_2-cn-cn3",))
    folder = BENCH.hand_in([(item, outputs[item.id]) for item in items], tmp_path / "out", store)
    assert folder == tmp_path / "out" / "interleave"
    wanted = set()
    for name, (group, _, told) in TABLE.items():
        language, _, key = name.partition("-")
        if told is not None:
            wanted |= {f"fullset/{group}/{language}/{language}{key}{end}.png" for end in ("", "_SRCIMG")}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.png")} == wanted
    assert Image.open(folder / "fullset" / GROUPS[1] / "cn" / "cn1_SRCIMG.png").size == (8, 6)
    assert store.get_image(items[0].images[0]).size == (16, 12)  # what agents are given


def test_the_judge_sees_the_edit_as_large_as_its_source(tmp_path, store):
    items = BENCH.read(write_data(tmp_path / "data"), store)
    outputs, prompts = edits_of(items, store), read_prompts(tmp_path / "prompts")
    semantics, quality = BENCH.questions(items[0], outputs[items[0].id], prompts)
    source, made = items[0].row["source"], outputs[items[0].id].images[0]
    assert semantics.parts[0] == "You look. \nTwo {score} rules.\nAsked: edit en-0"
    assert quality.parts[0] == "You look. \nOne rule."
    assert [(part.ref, part.as_large_as) for part in semantics.parts[1:]] == [(source, None), (made, source)]
    assert [(part.ref, part.as_large_as) for part in quality.parts[1:]] == [(made, source)]
    assert BENCH.num_questions(items[0]) == 2


@pytest.mark.parametrize(
    ("text", "lower"),
    [
        ('{"score": [8, 6], "reasoning": "x"}', 6),
        ('<think>[1, 1]</think>{"score": [7.5, 9]}', 7.5),
        ('So: {"reasoning": "y", "score": [0, 10]}.', 0),
    ],
)
def test_the_lower_of_two_scores_counts(text, lower):
    assert gedit.lower_score(text) == lower


@pytest.mark.parametrize(
    "text", ["", "[8, 6]", '{"score": 8}', '{"score": [8]}', '{"score": [8, 11]}', '{"score": [8, "6"]}', "8 and 6"]
)
def test_what_has_not_two_scores_is_unreadable(text):
    with pytest.raises(Unreadable):
        gedit.lower_score(text)


def test_what_is_not_there_is_said(tmp_path, store):
    with pytest.raises(ValueError, match="get the data set stepfun-ai/GEdit-Bench"):
        BENCH.read(tmp_path, store)
    with pytest.raises(ValueError, match=r"has no GEdit-Bench/viescore/vie_prompts\.py: it is not a checkout"):
        BENCH.prompts(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"key": "k", "task_type": "a"}))
    with pytest.raises(ValueError, match="row k has no instruction_language"):
        BENCH.read(tmp_path, store)
