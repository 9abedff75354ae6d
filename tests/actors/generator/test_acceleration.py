"""Options of a pipeline that make its edits faster: refused where they cannot work, and part of an edit's name."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest

from actors.config import GeneratorConfig
from actors.generator.kind import check_generator, resolve
from rollout.types import EditRequest
from tests.support import tiny_generator
from tests.support.painter import edit_all, make_generator

GPU: dict[str, Any] = {"gpus_per_replica": 1, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attention_backend": "_flash3"}, r"'_flash3'; diffusers has flash, .*; did you mean _flash_3"),
        ({"attention_backend": "_native_cudnn"}, r"needs a GPU, and generator\.gpus_per_replica is 0; on a CPU there"),
        (
            {"attention_backend": "_native_flash", "gpus_per_replica": 1},
            r"dtype is float32: make it bfloat16",
        ),
        ({"attention_backend": "sage", **GPU}, "needs the package sageattention, which is not"),
        ({"attention_backend": "_flash_3_hub", **GPU}, "needs the package kernels, which is not"),
    ],
)
def test_a_backend_that_cannot_work_is_refused_before_anything_starts(changes, why, monkeypatch):
    monkeypatch.setattr(
        "actors.generator.acceleration.find_spec", lambda name: find_spec(name) if name == "diffusers" else None
    )
    with pytest.raises(ValueError, match=rf"generator\.attention_backend.*{why}"):
        check_generator(GeneratorConfig(name="flux2-klein", **changes))


def test_what_works_passes():
    check_generator(GeneratorConfig(name="flux2-klein", attention_backend="native"))
    check_generator(GeneratorConfig(name="flux2-klein", attention_backend="_native_cudnn", **GPU))


def test_compiled_blocks_need_a_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"generator\.compile needs a C compiler"):
        check_generator(GeneratorConfig(name="flux2-klein", compile=True))


OPTIONS: list[dict[str, Any]] = [{"compile": True}, {"attention_backend": "native"}, {"max_batch_pixels": 1}]
KINDS: list[dict[str, Any]] = [{"name": "gpt-image"}, {"kind": "my_module:MyGenerator"}]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_for_pipelines(kind, option):
    with pytest.raises(ValueError, match=f"no pipeline of diffusers: generator.{next(iter(option))} is for those"):
        resolve(GeneratorConfig(**kind, **option))


@pytest.mark.parametrize("option", [{"compile": True}, {"attention_backend": "native"}])
def test_what_changes_pixels_is_part_of_an_edits_name_once_it_is_set(tmp_path, option):
    plain, chosen = make_generator(tmp_path), make_generator(tmp_path, **option)
    request = EditRequest(None, "abc", 7)
    assert chosen._depends_on(request) == plain._depends_on(request) | option
    assert chosen.settings_digest() != plain.settings_digest()


def test_a_batch_makes_no_more_pixels_than_it_may(tmp_path):
    wide = [EditRequest(None, f"w{seed}", seed, size=(8, 8)) for seed in range(5)]
    _, _, replica = edit_all(make_generator(tmp_path, max_batch_pixels=2 * 64 + 63), *wide)
    assert sorted(map(len, replica.batches[1:])) == [1, 2, 2]
    _, _, replica = edit_all(make_generator(tmp_path / "other", max_batch_pixels=1), *wide)
    assert max(map(len, replica.batches)) == 1


@pytest.mark.slow
def test_blocks_compile_as_whole_graphs_and_draw_the_same(tmp_path, monkeypatch):
    """Slow: imports torch and diffusers. The graphs are run as they are: to compile C++ of them takes minutes."""
    import numpy as np
    import torch

    from actors.generator.pipeline import Pipeline

    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: whole(self, backend="eager", **given))
    model, size = str(tiny_generator.build(tmp_path / "model")), tiny_generator.SIZE
    drawn = []
    for name, compiles in (("", False), ("_native_math", True)):
        config = GeneratorConfig(model=model, height=size, width=size, call=tiny_generator.CALL)
        pipeline = Pipeline(resolve(replace(config, attention_backend=name, compile=compiles)))
        pipeline.warm_up()
        (image,) = pipeline.draw([], None, [EditRequest(None, "a red box", 7)])
        drawn.append(np.asarray(image, dtype=int))
    assert np.abs(drawn[0] - drawn[1]).max() <= 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
