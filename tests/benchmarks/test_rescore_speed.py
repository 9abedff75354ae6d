"""The figure of `benchmarks/rescore_speed.py` is held to its limit."""

from benchmarks import rescore_speed


def test_a_slow_command_ends_with_code_1_and_is_named(monkeypatch, capsys):
    monkeypatch.setattr(rescore_speed, "_timed", lambda command: 61.5 if "reward=paper" in command else 58.0)
    assert rescore_speed.main(["--samples", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "rescore reward=paper took 61.5 s: longer than the limit of 60 s"
    )
    assert rescore_speed.main(["--samples", "1", "--limit-s", "62"]) == 0
    assert "each within 62 s" in capsys.readouterr().out
