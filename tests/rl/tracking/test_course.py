"""A run's metrics, read on while they are written, and thinned out for a page."""

import json

import pytest

from rl.tracking.charts import charts_of, family_of
from rl.tracking.course import POINTS, Column, Course, families, glance, thinned
from rl.tracking.metrics_file import append_metrics, drop_metrics_after


def fill(run_dir, steps, **values):
    for step in steps:
        append_metrics(run_dir, {"step": step, "time": 1000.0 + step, "reward/mean": step / 10, **values})


def test_what_is_new_is_read_and_a_torn_end_waits_for_its_rest(tmp_path):
    course = Course(tmp_path)
    course.read_on()
    assert (course.num_rows, course.version) == (0, "0.0")
    fill(tmp_path, (1, 2))
    course.read_on()
    seen = course.version
    row = json.dumps({"step": 3, "reward/mean": 0.3}).encode()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(row[:9])
        file.flush()
        course.read_on()
        assert (course.num_rows, course.version) == (2, seen)
        file.write(row[9:] + b"\n")
    course.read_on()
    assert list(course.columns["reward/mean"].steps) == [1, 2, 3]
    assert course.version != seen


def test_lines_that_are_no_rows_are_passed_over(tmp_path):
    fill(tmp_path, (1,))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "reward/me\n[1]\n{"step": "3"}\n{"no": 1}\n\n\x00\n')
        file.write('{"step": 4, "a/text": "x", "a/flag": true, "a/none": null, "a/nan": NaN, "reward/mean": 0.4}\n')
    course = Course(tmp_path)
    course.read_on()
    assert list(course.columns["reward/mean"].values) == [0.1, 0.4]
    assert set(course.columns) == {"reward/mean", "a/nan"}
    assert course.columns["a/nan"].num_broken == 1


def test_a_resumed_run_that_dropped_rows_is_read_anew(tmp_path):
    fill(tmp_path, range(1, 6))
    course = Course(tmp_path)
    course.read_on()
    drop_metrics_after(tmp_path, 3)
    fill(tmp_path, (4,), extra=1.0)
    course.read_on()
    assert list(course.columns["reward/mean"].steps) == [1, 2, 3, 4]
    assert course.num_rows == 4


def test_a_curve_is_bounded_and_keeps_its_peaks():
    column = Column()
    for step in range(10_000):
        column.steps.append(step)
        column.values.append(100.0 if step == 4321 else 1.0)
    curve = thinned([column])
    assert len(curve["steps"]) <= POINTS
    assert curve["steps"][-1] == 9999
    assert max(curve["high"]) == 100.0
    assert max(curve["low"]) == min(curve["low"]) == 1.0
    assert "low" not in thinned([Column(column.steps[:10], column.values[:10])])


def test_a_page_of_10_000_steps_stays_small(tmp_path):
    names = [f"reward/{name}" for name in "abcdefgh"] + ["policy/entropy", "seconds/step", "reward/mean"]
    course = Course(tmp_path)
    for step in range(10_000):
        course.add(json.dumps({"step": step} | dict.fromkeys(names, step * 0.123456789)).encode())
    assert len(json.dumps(charts_of(course))) < 60_000 * 2
    assert len(json.dumps(family_of(course, "reward"))) < 60_000 * 2


def test_a_glance_at_a_long_file_finds_its_evaluations_and_its_end(tmp_path):
    assert glance(tmp_path) is None
    fill(tmp_path, (1, 2))
    assert glance(tmp_path) is None
    padding = {f"policy/metric_{i}": 0.1 for i in range(200)}
    rows = [{"step": step, "reward/mean": 1.0, **padding} for step in range(1, 2001)]
    rows[700] = {"step": 700, "eval/reward": 0.5}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 2001, "rew')
    seen = glance(tmp_path)
    assert seen is not None
    assert 300 < seen.num_rows < 1000
    assert list(seen.columns["eval/reward"].steps) == [700]
    assert list(seen.columns["reward/mean"].steps)[-20:] == list(range(1981, 2001))
    steps = list(seen.columns["reward/mean"].steps)
    assert steps == sorted(set(steps))


def test_evaluations_before_during_and_after_are_one_curve(tmp_path):
    for step, name in [(0, "eval/reward_before"), (5, "eval/reward"), (10, "eval/reward_after")]:
        append_metrics(tmp_path, {"step": step, name: step / 10})
    course = Course(tmp_path)
    course.read_on()
    (chart,) = charts_of(course)
    assert chart["title"] == "held-out reward, without format"
    assert chart["lines"] == [{"name": "eval/reward", "steps": [0, 5, 10], "values": [0.0, 0.5, 1.0]}]


def test_an_area_has_a_chart_for_each_of_its_metrics(tmp_path):
    fill(tmp_path, (1, 2), **{"judge/faults/timeout": 2.0, "judge/calls": 3.0})
    course = Course(tmp_path)
    course.read_on()
    assert families(course.columns)["judge"] == ["judge/calls", "judge/faults/timeout"]
    assert [chart["title"] for chart in family_of(course, "judge")] == ["judge/calls", "judge/faults/timeout"]
    assert family_of(course, "../judge") == []


@pytest.mark.parametrize("number", [1, 299, 300, 301, 10_000])
def test_all_values_are_in_a_thinned_curve_once(number):
    column = Column()
    for step in range(number):
        column.steps.append(step)
        column.values.append(float(step))
    curve = thinned([column])
    assert (curve.get("low") or curve["values"])[0] == 0.0
    assert (curve.get("high") or curve["values"])[-1] == number - 1
