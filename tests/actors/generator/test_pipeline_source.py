"""A pipeline that is not there, or does not take what the recipe gives it, is told before anything is imported."""

import subprocess
import sys
from typing import Any

import pytest

from actors.config import GeneratorConfig
from actors.generator.kind import check_generator
from actors.generator.registry import REGISTRY
from tests.support.source_tree import REPO

MINE = """
import torch_of_nobody


class Base:
    def __call__(self, prompt, *, strength=1.0): ...


class Mine(Base):
    def __call__(self, prompt, *, strength=1.0, steps=4): ...


class Careless(Base):
    def __call__(self, prompt, **settings): ...


class Heir(Base): ...
"""


@pytest.fixture(autouse=True)
def _painters(tmp_path, monkeypatch):
    folder = tmp_path / "painters"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .mine import *\n")
    (folder / "mine.py").write_text(MINE)
    (folder / "torn.py").write_text("class Torn:\n    def __call__(self,\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("name", [spec.name for spec in REGISTRY.values() if spec.kind == "diffusers"])
def test_each_generator_that_has_a_name_takes_its_own_call(name):
    check_generator(GeneratorConfig(name=name))
    with pytest.raises(ValueError, match=r"^generator.call.nonsense: \w+Pipeline takes .*prompt, .*, not nonsense$"):
        check_generator(GeneratorConfig(name=name, call={"nonsense": 1}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"name": "flux2-klein", "call": {"guidance_scal": 2}}, r"not guidance_scal; did you mean guidance_scale\?"),
        ({"pipeline": "diffusers.Flux2KleinPipeline", "call": {"step": 3}}, "takes image, prompt, .*, not step$"),
        ({"pipeline": "Flux2KlienPipeline"}, r"diffusers has no such class; did you mean Flux2KleinPipeline\?"),
        ({"pipeline": "Painter"}, "generator.pipeline is Painter: diffusers has no such class$"),
        ({"pipeline": "nobodys.Painter"}, "there is no module nobodys; modules are imported from"),
        ({"pipeline": "painters.nowhere.Painter"}, "there is no module painters.nowhere;"),
        ({"pipeline": "painters.mine.Painter"}, r"mine\.py has no Painter"),
        (
            {"pipeline": "painters.mine.Mine", "call": {"step": 3}},
            r"takes prompt, strength, steps, not step; did .* steps\?",
        ),
        ({"pipeline": "painters.torn.Torn"}, r"generator.pipeline is painters.torn.Torn: .*\(torn.py, line 2\)"),
    ],
)
def test_what_is_not_there_or_not_taken_is_told(config: dict[str, Any], said):
    with pytest.raises(ValueError, match=said):
        check_generator(GeneratorConfig(model="m", **config))


@pytest.mark.parametrize(
    "name", ["painters.Mine", "painters.mine.Mine", "painters.mine.Careless", "painters.mine.Heir", "Mine"]
)
def test_what_a_source_does_not_tell_is_left_to_the_start(name):
    call = {"steps": 3} if name == "painters.mine.Mine" else {"anything": 1}
    own: dict[str, Any] = {"custom_pipeline": "./theirs", "trust_remote_code": True} if name == "Mine" else {}
    check_generator(GeneratorConfig(model="m", pipeline=name, call=call, **own))


@pytest.mark.slow
def test_nothing_is_imported_for_it():
    """Slow: it starts processes of Python."""
    script = (
        "import sys\nfrom actors.config import GeneratorConfig\nfrom actors.generator.kind import check_generator\n"
        "check_generator(GeneratorConfig(name='flux2-klein'))\nprint({'torch', 'diffusers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
