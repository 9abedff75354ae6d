"""`interleave reward test`: what it asks, what it finds, and when it says no."""

import asyncio
import re
from dataclasses import replace

import pytest

from actors.store.ledger import Ledger
from rewards.compose import RewardError, TermConfig
from rewards.functions.sample_cases import best_to_worst, sample_cases
from rl.cli.main import main
from rl.reward_trial.trial import OWN_TERMS, functions_of, ledger_cases, try_reward
from rollout.text.critique import CritiqueError, parse_critique
from rollout.types import Failure, Group, GroupRequest, Reward, Sample, Stage

pytestmark = pytest.mark.slow  # each reward runs in a process of its own

MINE = """
import random
from rewards.needs import needs
from rollout.types import Evidence

LIMIT = 20


def _hidden(evidence): return 0.0


def gain(evidence: Evidence) -> float:
    if evidence.critique is None:
        return 0.0
    after = evidence.scores or evidence.baseline
    return (after.semantics - evidence.baseline.semantics + 10) / 20


def careless(evidence: Evidence) -> float:
    return 1.0 if "red" in evidence.critique.refine_prompt else 0.0


def blind(evidence: Evidence) -> float:
    return evidence.scores.semantics


def lucky(evidence: Evidence) -> float:
    return random.random()


def percent(evidence: Evidence) -> float:
    return 100.0 if evidence.critique is None else 50.0


@needs("ocr")
def reading(evidence: Evidence) -> float:
    return evidence.extra["ocr"] if evidence.extra else 0.0


def nan(evidence: Evidence) -> float:
    return float("nan")


def length(evidence: Evidence) -> float:
    return min(1.0, len(evidence.response.text) / 400)


def helper(first, second): return 0.0
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    file = tmp_path_factory.mktemp("rewards") / "mine.py"
    file.write_text(MINE)
    return file


def trial_of(mine, name, extra=None):
    return asyncio.run(try_reward(TermConfig(f"{mine}:{name}"), lambda traits: sample_cases(extra)))


def test_gold_samples_are_what_the_parser_makes_of_their_texts():
    for case in sample_cases():
        evidence = case.evidence
        if case.is_parsed:
            assert parse_critique(evidence.response.text) == evidence.critique
        else:
            with pytest.raises(CritiqueError) as error:
                parse_critique(evidence.response.text)
            expected = "truncated" if evidence.response.is_truncated else error.value.kind
            assert evidence.parse_error == expected, case.name


def test_gold_samples_are_of_every_kind_and_told_apart_by_our_terms():
    cases = {case.name: case.evidence for case in sample_cases({"x": 1})}
    assert len(cases) == len(sample_cases())
    gains = [OWN_TERMS(cases[name]).terms["semantic_gain"] for name in best_to_worst()]
    assert gains == sorted(set(gains), reverse=True)
    assert cases["perfect fix"].extra == {"x": 1}
    assert cases["no further evidence"].extra == cases["right verdict, good record"].extra == {}
    assert sum(evidence.critique is None for evidence in cases.values()) >= 5
    assert {(e.task.is_success, e.critique.is_success) for e in cases.values() if e.critique} == {
        (label, verdict) for label in (True, False) for verdict in (True, False)
    }


def test_all_rewards_of_a_file_or_module_are_found_unless_one_is_named(mine):
    names = ["gain", "careless", "blind", "lucky", "percent", "reading", "nan", "length"]
    others = {"helper": "it takes (first, second), not the evidence alone"}
    assert functions_of(str(mine)) == ([f"{mine}:{name}" for name in names], others)
    assert functions_of(f"{mine}:helper") == ([f"{mine}:helper"], {})
    assert functions_of("rewards.accuracy")[0] == ["rewards.accuracy.is_right", "rewards.accuracy.disagreement"]
    assert functions_of("rewards.accuracy.is_right") == (["rewards.accuracy.is_right"], {})
    assert functions_of("rewards.accuracy:is_right") == (["rewards.accuracy:is_right"], {})


def test_a_good_reward_is_measured(mine):
    trial = trial_of(mine, "gain")
    assert trial.is_good
    assert trial.failures == []
    assert trial.correlations()["semantic_gain"] > 0.5
    assert list(trial.order().values()) == [0.85, 0.65, 0.5, 0.4]
    mean_ms, p95_ms = trial.milliseconds()
    assert mean_ms > 0
    assert p95_ms > 0
    assert list(trial.warnings()) == []


def test_what_fails_is_counted_by_kind_with_an_example(mine):
    careless = trial_of(mine, "careless")
    num_unparsable = sum(not case.is_parsed for case in sample_cases())
    ((kind, (count, example)),) = careless.kinds().items()
    assert (kind, count) == ("raised", num_unparsable)
    assert example.startswith("raised AttributeError: 'NoneType' object has no attribute 'refine_prompt'")
    assert not careless.is_good, "it fails on all answers that do not parse"
    assert any("left out, not punished" in warning for warning in careless.warnings())
    assert not trial_of(mine, "blind").is_good, "samples that were not regenerated have no scores"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lucky", "time or chance is in it"),
        ("percent", "ranges from 50 to 100"),
        ("percent", "an answer that does not parse may earn 100, one that does 50"),
    ],
)
def test_likely_mistakes_are_pointed_out(mine, name, message):
    assert any(message in warning for warning in trial_of(mine, name).warnings())


def test_the_command_says_by_its_exit_code_whether_a_reward_may_be_used(mine, capsys):
    assert main(["reward", "test", f"{mine}:gain"]) == 0
    assert "every answer that parses got a number" in capsys.readouterr().out
    assert main(["reward", "test", f"{mine}:blind"]) == 1
    printed = capsys.readouterr().out
    assert "raised AttributeError: 'NoneType' object has no attribute 'semantics'" in printed
    assert "not fit to train with" in printed
    assert main(["reward", "test", f"{mine}:careless"]) == 1
    assert "not fit to train with: no answer that does not parse got a number" in capsys.readouterr().out
    assert main(["reward", "test", f"{mine}:nothing"]) == 2
    assert "has no nothing, only" in capsys.readouterr().err


def test_a_penalty_is_one_by_its_weight(mine, capsys):
    warning = "an answer that does not parse may earn 1, one that does"
    assert main(["reward", "test", f"{mine}:length"]) == 0
    said = capsys.readouterr().out
    assert warning in said
    assert "for a penalty say --weight" in said
    assert main(["reward", "test", f"{mine}:length", "--weight", "-0.2"]) == 0
    said = capsys.readouterr().out
    assert warning not in said
    assert "an answer that does not parse loses 0, one that does at least 0.0" in said, "the empty one"


def test_where_no_sample_gets_a_number_it_is_said(mine, capsys):
    assert main(["reward", "test", f"{mine}:nan"]) == 1
    assert "not fit to train with: no sample got a number" in capsys.readouterr().out


def test_functions_that_are_no_rewards_are_said(tmp_path, capsys):
    (tmp_path / "two.py").write_text("def one(evidence): return 1.0\ndef two(evidence, k): return 1.0\n")
    main(["reward", "test", f"{tmp_path}/two.py"])
    assert "two: skipped, it takes (evidence, k), not the evidence alone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def brief(evidence:\n    return 1.0\n", "raised SyntaxError: '(' was never closed ({file}:1)"),
        ("import json\n\njson.loads('{')\n", "raised JSONDecodeError: .* ({file}:3)"),
        ("import torhc\n", "raised ModuleNotFoundError: No module named 'torhc' ({file}:1)"),
    ],
)
@pytest.mark.parametrize("function", ["", ":brief"])
def test_what_a_file_raises_when_it_is_imported_is_located_in_it(text, message, function, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert main(["reward", "test", f"{file}{function}"]) == 2
    told = capsys.readouterr().err
    assert re.search(re.escape(message.format(file=file)).replace(r"\.\*", ".*"), told)
    assert told.count("\n") == 1


def test_evidence_of_ones_own_is_given_by_hand(mine, capsys):
    assert main(["reward", "test", f"{mine}:reading"]) == 0
    assert "ocr was taken to be 0.5" in capsys.readouterr().out
    assert main(["reward", "test", f"{mine}:reading", "--extra", '{"ocr": "EXIT"}']) == 1
    assert "returned 'EXIT', expected a finite number" in capsys.readouterr().out
    assert main(["reward", "test", f"{mine}:reading", "--extra", "[1]"]) == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.py", "there is no file"),
        ("nowhere", "cannot import nowhere"),
        ("rollout.text.prompt_file", "no public function that looks like a reward"),
    ],
)
def test_a_target_without_rewards_is_explained(target, message):
    with pytest.raises(ValueError, match=message):
        functions_of(target)


def test_a_runs_ledger_gives_the_samples(mine, tmp_path, capsys):
    async def roll_out():
        ledger = Ledger.open(tmp_path / "ledger")
        for number, case in enumerate(sample_cases({"ocr": 0.25})):
            task = replace(case.evidence.task, id=f"task-{number:02d}")
            evidence = replace(case.evidence, task=task)
            down = Sample(task.id, 1, 0, evidence, None, Failure(Stage.JUDGE, "down"))
            broke = Sample(task.id, 2, 0, evidence, None, Failure(Stage.REWARD, "not a number"))
            group = Group(task, (Sample(task.id, 0, 0, evidence, Reward({}, 1.0), None), down, broke))
            await ledger.record(GroupRequest(task, 3, 0, (7,), step=4), group)

    asyncio.run(roll_out())
    cases = ledger_cases(tmp_path, limit=1000)
    assert len(cases) == 2 * len(sample_cases()), "all but those that never came to a reward"
    assert cases[0].name == "train 4, task-00 #0"
    assert [case.name for case in ledger_cases(tmp_path, limit=3)] == [cases[i].name for i in (0, 16, 33)]
    assert main(["reward", "test", f"{mine}:reading", "--ledger", str(tmp_path), "--limit", "20"]) == 0
    assert "range        0 to 0.25" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has no ledger"):
        ledger_cases(tmp_path / "nowhere", 10)


@pytest.mark.parametrize(("deed", "kinds"), [("hang", ["hung"] * 3), ("exit 0", ["died"] * 2)])
def test_a_function_that_keeps_taking_its_process_down_is_not_asked_to_the_end(deed, kinds):
    cases = [replace(case, evidence=_told(case.evidence, deed)) for case in sample_cases()]
    trial = asyncio.run(
        try_reward(TermConfig("tests.support.foreign_rewards.obedient", timeout_s=0.2), lambda traits: cases)
    )
    assert [verdict.kind for verdict in trial.verdicts] == kinds
    assert trial.is_given_up


def test_a_function_that_is_not_there_is_said():
    with pytest.raises(RewardError, match="has no nothing"):
        asyncio.run(try_reward(TermConfig("tests.support.foreign_rewards.nothing"), lambda traits: sample_cases()))


def _told(evidence, instruction):
    return replace(evidence, task=replace(evidence.task, instruction=instruction))
