"""JSON of a folder that was damaged is told by its file and its fault."""

import pytest

from rl.json_file import read_object


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b'{"a": ', "Expecting value: line 1 column 7"),
        (b'{"a": "\x80"}', "byte 8 is no text in UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"[1]", "it holds a list"),
        (b"null", "it holds null"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path, content, why):
    file = tmp_path / "versions.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{file} is damaged: {why}.*; expected a JSON object$"):
        read_object(file)


def test_a_whole_object_is_returned_and_a_missing_file_is_an_os_error(tmp_path):
    (tmp_path / "a.json").write_text('{"a": "ä"}', encoding="utf-8")
    assert read_object(tmp_path / "a.json") == {"a": "ä"}
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "b.json")
