"""Functions by name, and what they are by content."""

import re
from types import SimpleNamespace

import pytest
from PIL import Image

from rewards.functions.import_path import FunctionError, identity_of, load_function
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe


def test_an_identity_is_that_of_the_file_and_the_file_is_not_run(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("raise SystemExit\n")
    before = identity_of(f"{mine}:score")
    assert before.startswith(f"{mine}:score@")
    assert identity_of(f"{mine}:other").rpartition("@")[2] == before.rpartition("@")[2]
    mine.write_text("raise SystemExit  # changed\n")
    assert identity_of(f"{mine}:score") != before


def test_an_import_path_has_the_identity_of_its_file():
    by_name = identity_of("rewards.format.is_parsed")
    assert by_name.rpartition("@")[2] == identity_of("rewards/format.py:is_parsed").rpartition("@")[2]


@pytest.mark.parametrize("path", ["no.such.module", "sys.exit", "./no_such_file.py:score", "score"])
def test_what_has_no_file_has_no_identity(path):
    with pytest.raises(FunctionError):
        identity_of(path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("./no_such_file.py:score", "there is no file {}/no_such_file.py"),
        ("my_juge:MyJudge", "there is no module my_juge; modules are imported from {}"),
    ],
)
def test_what_is_not_there_is_said_once(path, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FunctionError) as error:
        identity_of(path)
    assert str(error.value) == said.format(tmp_path)


@pytest.mark.parametrize("code", ["3", "'no arguments'", ""])
def test_a_script_that_ends_the_process_is_refused(tmp_path, monkeypatch, code):
    (tmp_path / "a_script.py").write_text(f"import sys\nsys.exit({code})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for path in (f"{tmp_path}/a_script.py:score", "a_script:score"):
        with pytest.raises(FunctionError, match=rf"a_script.* calls sys\.exit\({code or None}\) when it is imported"):
            load_function(path)


def test_what_a_file_imports_is_no_candidate_for_a_name_that_it_lacks(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from rewards.needs import needs\nfrom rollout.types import Evidence, Scores\n\n\n"
        "@needs('it')\ndef beauty(evidence):\n    return 1.0\n\n\ndef brevity(evidence):\n    return 1.0\n"
    )
    with pytest.raises(FunctionError, match=r"mine\.py has no brevty; did you mean brevity\?$"):
        load_function(f"{mine}:brevty")
    with pytest.raises(FunctionError, match=r"mine\.py has no evidence, only beauty, brevity$"):
        load_function(f"{mine}:evidence")


def test_the_guides_files_are_the_recipe_that_it_shows(tmp_path):
    text = (REPO / "docs" / "rewards.md").read_text(encoding="utf-8")
    text, _, penalty = text.partition("A penalty is")
    for kind, block in re.findall(r"^```(python|yaml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        name = block.partition("\n")[0].removeprefix("# ") if kind == "python" else "mine.yaml"
        (tmp_path / name).write_text(block)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert [load_function(term.fn).__name__ for term in recipe.reward.terms] == [
        "is_parsed",
        "semantic_gain",
        "brevity",
        "beauty",
    ]
    [block] = re.findall(r"^```python\n(.*?)^```", penalty, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_penalty.py").write_text(block)
    length = load_function(f"{tmp_path / 'my_penalty.py'}:length")
    answers = [SimpleNamespace(response=SimpleNamespace(token_ids=range(num))) for num in (40, 80, 500)]
    assert [length(answer) for answer in answers] == [0, 0.5, 1]
    aesthetic = load_function(recipe.evidence["aesthetic"].fn)
    assert [aesthetic(None, Image.new("RGB", (8, 8), colour), "") for colour in ("red", "grey")] == [1.0, 0.0]
