"""Lines for the user."""

from actors.notice import notify


def test_a_line_goes_to_stderr_under_the_commands_name(capsys):
    notify("the bucket takes nothing")
    assert capsys.readouterr() == ("", "interleave: the bucket takes nothing\n")
