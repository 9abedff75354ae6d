import pytest

from rl.cli.main import main
from tests.support.benchmark_data import wise_row, write_wise


@pytest.fixture
def asked(tmp_path):
    data, _ = write_wise(tmp_path / "wise", [wise_row(1, "Score: 1")], is_verified=True)
    stories = ["--agents", "recipes/shapes_story.yaml", f"store={tmp_path / 'store'}", "--alone"]
    return ["eval", "wise_verified", "--data", str(data), "--out", str(tmp_path / "out"), *stories]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "scoring reads the judge's prompts from a checkout: git clone https://github.com/PKU-YuanGroup/WISE"),
        (["--data", "nowhere", "--submit-only"], "--data nowhere: there is no such folder"),
        (["--judge", "modle=x"], "unknown key judge.modle; did you mean model?"),
        (["--budget", "3"], "judge.budget_usd=3 needs the price of every endpoint"),
        (["--judge", "model=x", "--against", "nowhere"], "--against nowhere has no figures of the judge x"),
        (
            ["--submit-only", "--against", "nowhere"],
            "--submit-only asks no judge: leave out --judge and --against, or it",
        ),
        (
            ["--submit-only", "--judge", "model=x"],
            "--submit-only asks no judge: leave out --judge and --against, or it",
        ),
        (["generator.hieght=3"], "unknown key generator.hieght"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_left(asked, more, told, tmp_path, capsys):
    assert main([*asked, *more]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--limit", "-1"], ["--max-failures", "2"], ["--budget", "0"]])
def test_numbers_are_checked(asked, more, capsys):
    with pytest.raises(SystemExit):
        main([*asked, *more])
    assert more[0] in capsys.readouterr().err
