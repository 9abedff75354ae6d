"""Figures of merit and their intervals."""

import warnings

import numpy as np
import pytest

from rl.cli.multi_seed import missed_bars
from rl.evaluation import Evaluation, EvaluationRow, compare, evaluated_before
from tests.support.interrupted_run import learn_until

NAN = float("nan")


def row(task, *, index=0, is_failed=True, is_right=True, reward=0.5, gain=0.0, fixed=0.0) -> EvaluationRow:
    gain, fixed = (gain, fixed) if is_failed else (NAN, NAN)
    return EvaluationRow(f"t{task}", index, is_failed, True, is_right, reward, gain, fixed)


def evaluation(*rows) -> Evaluation:
    return Evaluation(tuple(rows), (), 0)


def test_figures_by_hand():
    figures = evaluation(
        row(1, reward=0.2, gain=2.0, fixed=1.0, is_right=True),
        row(2, reward=0.4, gain=-1.0, is_right=False),
        row(3, reward=0.9, is_failed=False, is_right=True),
    ).figures()
    assert figures["reward"] == pytest.approx(0.5)
    assert figures["semantic_gain"] == pytest.approx(0.5)  # of the two failed tasks
    assert figures["fixed"] == pytest.approx(0.5)
    assert figures["verdict_accuracy"] == pytest.approx((0.5 + 1.0) / 2)  # balanced: by label


def noisy(rng, shift):
    return evaluation(
        *(
            row(
                i,
                index=j,
                is_failed=i % 4 > 0,
                reward=rng.normal(0.5 + shift, 0.1),
                gain=shift,
                fixed=float(rng.random() < 0.2 + shift),
            )
            for i in range(200)
            for j in range(2)
        )
    )


def test_a_real_change_is_found_and_no_change_is_not():
    rng = np.random.default_rng(0)
    before, same, better = noisy(rng, 0.0), noisy(rng, 0.0), noisy(rng, 0.3)
    nothing, something = compare(before, same), compare(before, better)
    assert nothing["reward"].low < 0 < nothing["reward"].high
    assert something["reward"].low > 0.25
    assert something["reward"].difference == pytest.approx(0.3, abs=0.03)
    assert something["fixed"].low > 0


def test_only_rows_of_both_are_compared():
    before = evaluation(row(1, reward=0.0), row(2, reward=1.0))
    after = evaluation(row(2, reward=1.0), row(3, reward=0.0))
    assert compare(before, after)["reward"].difference == 0.0
    with pytest.raises(ValueError, match="share no"):
        compare(evaluation(row(1)), evaluation(row(2)))


def test_an_evaluation_is_read_back(tmp_path):
    before = evaluation(row(1, gain=2.0), row(2, is_failed=False))
    before.save(tmp_path / "e.json")
    assert str(Evaluation.load(tmp_path / "e.json")) == str(before)  # nan != nan, but its text is


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"reward": 1}], "num_failed": 0}', '{"rows": 3}'])
def test_a_damaged_evaluation_before_training_is_told_with_what_can_be_done(tmp_path, content):
    file = tmp_path / "evaluation_before.json"
    assert evaluated_before(tmp_path) is None
    file.write_text(content)
    with pytest.raises(ValueError, match=rf"{file} is damaged: .*; remove it, and it is made again"):
        evaluated_before(tmp_path)
    learn_until(tmp_path, 3)
    told = "what was before training cannot be measured after step 3: put the file back, or choose another run"
    with pytest.raises(ValueError, match=rf"{file} is damaged: .*; {told}"):
        evaluated_before(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=rf"{file} is missing; {told}"):
        evaluated_before(tmp_path)


def test_a_figure_that_does_not_exist_misses_its_bar():
    only_good = evaluation(*(row(i, is_failed=False) for i in range(3)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        missed = missed_bars(compare(only_good, only_good))
    assert any(line.startswith("fixed") for line in missed)


def test_missed_bars_are_named():
    rng = np.random.default_rng(0)
    changes = compare(noisy(rng, 0.0), noisy(rng, 0.0))
    assert [line.split()[0] for line in missed_bars(changes)] == ["reward", "semantic_gain", "fixed"]
