import json
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import pytest
from PIL import Image

from actors.store.store import Store
from evals.official.benchmark import Item, Judged, Output, Picture, Question, Reading, Unreadable
from evals.official.wise import ORIGINAL, VERIFIED, Wise
from tests.support.benchmark_data import wise_row, write_wise

ASK = Question("score", ())
VERIFIED_RANGES = [(1, 400), (401, 520), (521, 640), (641, 760), (761, 880), (881, 1000)]
ORIGINAL_RANGES = [(1, 400), (401, 567), (568, 700), (701, 800), (801, 900), (901, 1000)]
VERIFIED_WEIGHTS = [0.4, 0.12, 0.12, 0.12, 0.12, 0.12]
ORIGINAL_WEIGHTS = [0.4, 0.167, 0.133, 0.1, 0.1, 0.1]
GROUPS = ["culture", "time", "space", "biology", "physics", "chemistry"]


def values_of(number: int, num_values: int) -> tuple[float, ...]:
    """Return made-up scores whose means differ from range to range."""
    if num_values == 1:
        return (float(number % (2 + number // 130) == 0),)
    return (float(number % 3), float((number // 7) % 3 and number < 700), float(number > 420) * 2)


def judged_by(benchmark: Wise, tmp_path, *, without=()) -> list[Judged]:
    rows = [wise_row(number, "") for number in range(1, 1001)]
    data, _ = write_wise(tmp_path, rows, is_verified=benchmark is not ORIGINAL and "verified" in benchmark.name)
    num_values = len(benchmark.edition.parts)
    return [
        Judged(item, Output((Picture("x"),)), {"score": None if int(item.id) in without else reading})
        for item in benchmark.read(data, Store(tmp_path))
        for reading in [Reading(values_of(int(item.id), num_values))]
    ]


def expected_verified() -> float:
    means = [fmean(values_of(n, 1)[0] for n in range(low, high + 1)) for low, high in VERIFIED_RANGES]
    return sum(weight * mean for weight, mean in zip(VERIFIED_WEIGHTS, means, strict=True))


def expected_original() -> float:
    def score(number):
        consistency, realism, aesthetics = values_of(number, 3)
        return (0.7 * consistency + 0.2 * realism + 0.1 * aesthetics) / 2

    means = [fmean(map(score, range(low, high + 1))) for low, high in ORIGINAL_RANGES]
    return sum(weight * mean for weight, mean in zip(ORIGINAL_WEIGHTS, means, strict=True))


def overall(benchmark: Wise, judged) -> float:
    value = benchmark.official(judged, 1000)[0].value
    assert value is not None
    return value


def test_the_overall_scores_are_those_of_their_scripts(tmp_path):
    assert overall(VERIFIED, judged_by(VERIFIED, tmp_path / "a")) == pytest.approx(expected_verified(), abs=1e-12)
    assert overall(ORIGINAL, judged_by(ORIGINAL, tmp_path / "b")) == pytest.approx(expected_original(), abs=1e-12)


def swapped(sequence, first, second):
    exchanged = list(sequence)
    exchanged[first], exchanged[second] = exchanged[second], exchanged[first]
    return exchanged


@pytest.mark.parametrize(("benchmark", "expected"), [(VERIFIED, expected_verified), (ORIGINAL, expected_original)])
def test_exchanging_any_two_weights_would_be_found(benchmark, expected, tmp_path):
    judged, weights = judged_by(benchmark, tmp_path), list(benchmark.edition.weights.values())
    for first, second in combinations(range(6), 2):
        if weights[first] != weights[second]:
            exchanged = dict(zip(GROUPS, swapped(weights, first, second), strict=True))
            other = Wise(replace(benchmark.edition, weights=exchanged))
            assert overall(other, judged) != pytest.approx(expected(), abs=1e-6), (first, second)


def test_exchanging_any_two_parts_of_a_score_would_be_found(tmp_path):
    judged, parts = judged_by(ORIGINAL, tmp_path), ORIGINAL.edition.parts
    for first, second in combinations(range(3), 2):
        other = Wise(replace(ORIGINAL.edition, parts=tuple(swapped(parts, first, second))))
        assert overall(other, judged) != pytest.approx(expected_original(), abs=1e-6), (first, second)


@pytest.mark.parametrize(("benchmark", "ranges"), [(VERIFIED, VERIFIED_RANGES), (ORIGINAL, ORIGINAL_RANGES)])
def test_categories_are_ranges_of_ids(benchmark, ranges, tmp_path):
    found: dict[str, list[int]] = {}
    for one in judged_by(benchmark, tmp_path):
        found.setdefault(one.item.group, []).append(int(one.item.id))
    assert list(found) == GROUPS
    assert [(ids[0], ids[-1], len(ids)) for ids in found.values()] == [(a, b, b - a + 1) for a, b in ranges]


@pytest.mark.parametrize("benchmark", [VERIFIED, ORIGINAL])
def test_one_id_without_a_score_and_their_script_refuses(benchmark, tmp_path):
    (figure,) = benchmark.official(judged_by(benchmark, tmp_path, without={7}), 1000)
    assert figure.value is None
    assert figure.why == "refused: 1 of 1,000 ids have no score"


def test_the_two_sets_are_told_apart():
    assert VERIFIED.title != ORIGINAL.title
    assert (VERIFIED.name, ORIGINAL.name) == ("wise_verified", "wise")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Score: 1", 1.0),
        ("**Score**: 0", 0.0),
        ("score\uff1a1", 1.0),
        ("SCORE 0 because", 0.0),
        ("I see a moon.\n1\n", 1.0),
        ("<think>Score: 0?</think>Score: 1", 1.0),
        ("hm</think>\nScore: 1", 1.0),
        ("Score: 0 or Score: 1", 0.0),
        ("Score: 10", None),
        ("Score: 2", None),
        ("0\n1", None),
        ("", None),
    ],
)
def test_binary_answers(text, value):
    if value is None:
        with pytest.raises(Unreadable):
            VERIFIED.read_answer(ASK, text)
    else:
        assert VERIFIED.read_answer(ASK, text).values == (value,)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Consistency: 2\nRealism: 1\nAesthetic Quality: 0", (2, 1, 0)),
        ("**consistency** 2, **realism** 1, **aesthetic quality**: 1", (2, 1, 1)),
        ("2\n1\n0", (2, 1, 0)),
        ("2\n\n1\nwords\n0\n2", (2, 1, 0)),
        ("Consistency: 0\nRealism: 1\nAesthetic Quality: 1\nConsistency: 2", (2, 1, 1)),
        ("Consistency: 2\n1\n0\n2", None),
        ("2\n1", None),
        ("no", None),
    ],
)
def test_three_scores(text, values):
    if values is None:
        with pytest.raises(Unreadable):
            ORIGINAL.read_answer(ASK, text)
    else:
        assert ORIGINAL.read_answer(ASK, text).values == values


def test_the_judge_is_asked_with_riddle_and_solution(tmp_path):
    data, checkout = write_wise(tmp_path, [wise_row(641, "Score: 1")], is_verified=True)
    (item,) = VERIFIED.read(data, Store(tmp_path))
    (question,) = VERIFIED.questions(item, Output((Picture("a"), Picture("b"))), VERIFIED.prompts(checkout))
    assert question.system == "You are a judge."
    assert question.parts == (
        'Judge it.\nPROMPT: "Riddle 641"\nEXPLANATION: "It is 641 [[Score: 1]]"\n',
        Picture("b"),
    )
    assert VERIFIED.questions(item, Output((), "failed"), VERIFIED.prompts(checkout)) == []


def test_the_hand_in_is_a_folder_of_numbered_images(tmp_path):
    store = Store(tmp_path)
    image = store.put_image(Image.new("RGB", (4, 4)))
    items = [Item(str(number), "culture", "a") for number in (1, 2, 1000)]
    outputs = [Output((Picture(image),)), Output((), "failed"), Output((Picture(image),))]
    folder = VERIFIED.hand_in(list(zip(items, outputs, strict=True)), tmp_path / "hand-in", store)
    assert sorted(path.name for path in folder.iterdir()) == ["1.png", "1000.png"]


def test_rewritten_prompts_beside_the_data_are_passed_over(tmp_path):
    data, _ = write_wise(tmp_path, [wise_row(701, "")], is_verified=False)
    (data / "WISE_legacy/data/natural_science_rewrite.json").write_text(json.dumps([wise_row(702, "")]))
    assert [item.id for item in ORIGINAL.read(data, Store(tmp_path))] == ["701"]


def test_an_id_out_of_range_is_named(tmp_path):
    data, _ = write_wise(tmp_path, [wise_row(1001, "")], is_verified=True)
    with pytest.raises(ValueError, match="the row of prompt_id 1001: expected a whole number from 1 to 1000"):
        VERIFIED.read(data, Store(tmp_path))


def test_another_checkout_is_refused(tmp_path):
    (tmp_path / "vllm_eval.py").write_text("def build_evaluation_messages(a, b):\n    return ['one text of it']\n")
    with pytest.raises(ValueError, match=r"vllm_eval\.py is not as in PKU-YuanGroup/WISE@eb51174"):
        VERIFIED.prompts(tmp_path)
