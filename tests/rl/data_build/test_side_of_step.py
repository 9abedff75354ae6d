"""A function of the user's own that says a step's side: what it gets, and what is said where it fails."""

import pytest
from PIL import Image

from actors.store.store import Store
from rl.data_build.side_of_step import side_of_step


def side_by(tmp_path, body):
    (tmp_path / "mine.py").write_text(body)
    return side_of_step(f"{tmp_path}/mine.py:side", Store(tmp_path / "store"))


def test_it_sees_the_picture_and_the_instruction(tmp_path):
    side = side_by(tmp_path, "def side(before, text):\n    return 'train' if before is None else text\n")
    image = Store(tmp_path / "store").put_image(Image.new("RGB", (8, 4)))
    assert (side(None, "heldout"), side(image, "heldout")) == ("train", "heldout")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('boom')", r": its module raised RuntimeError: boom \(.*mine\.py:1\)$"),
        ("def side(:", r": its module raised SyntaxError: .*mine\.py:1\)$"),
        ("import sys; sys.exit(3)", r": .*mine\.py calls sys\.exit\(3\) when it is imported"),
        ("x = 1", "mine.py has no side"),
        ("def side(before, text): raise KeyError(text)", r", which raised KeyError: 'go' \(.*mine\.py:1\)$"),
        ("def side(before, text): return 7", ", which returned 7; expected train or heldout"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_key(tmp_path, body, said):
    with pytest.raises(ValueError, match=rf"^split\.side is '{tmp_path}/mine\.py:side'.*{said}"):
        side_by(tmp_path, body)(None, "go")
