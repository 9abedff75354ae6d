"""Names of rows that become names of files."""

import pytest

from evals.official.named_rows import file_name


@pytest.mark.parametrize("name", ["a/b", "/a", "..", ".", "a\\b", "", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(ValueError, match=r"row 1: key is .*, expected what can be the name of a file"):
        file_name({"key": name}, "key", "row 1")


@pytest.mark.parametrize("name", ["a.b", "..a", "culture-1", "画"])
def test_a_name_of_a_file_is_taken(name):
    assert file_name({"key": name}, "key", "row 1") == name
