"""Each way to make edits, measured without a GPU; slow because it imports torch and diffusers."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("speed", "noise", "status"), [(3.1, 1, 0), (2.9, 1, 1), (3.1, 60, 1)])
def test_the_fastest_way_with_the_right_pixels_is_held_to_the_bars(tmp_path, monkeypatch, speed, noise, status):
    from benchmarks.gpu import generator

    eager = np.random.default_rng(0).integers(60, 190, (2, 8, 8, 3), dtype=np.uint8)

    def measure(name, way, *_):
        if way.name == "compiled":
            return {"images_per_second": speed}, eager + np.uint8(noise)
        if way.name == "KV, its own call":
            raise RuntimeError("CUDA out of memory\nand more")
        return {"images_per_second": 2.0}, eager

    monkeypatch.setattr(generator, "_measure", measure)
    file = tmp_path / "out.json"
    assert generator.measure_edits("tiny", generator.WAYS, 2, 64, file, 100) == status
    found = json.loads(file.read_text())
    assert found["KV, its own call"] == {"skipped": "RuntimeError: CUDA out of memory"}
    assert found["KV, shared reference"]["psnr_db"] is None
    assert found["eager"]["psnr_db"] == 99.0
    assert found["best"]["way"] == ("compiled" if noise == 1 else "eager")


def test_ways_and_arguments_are_those_that_there_are():
    from benchmarks.gpu import generator
    from benchmarks.gpu.__main__ import main

    with pytest.raises(SystemExit, match="2"):
        main(["--part", "generator", "--generator", ""])
    assert [way.name for way in generator.ways_here("", has_gpu=False)] == [way.name for way in generator.WAYS]
    assert "attention _native_cudnn" in [way.name for way in generator.ways_here("", has_gpu=True)]
    assert [way.name for way in generator.ways_here("shared", has_gpu=False)] == [
        "eager",
        "KV, its own call",
        "KV, shared reference",
        "KV, shared reference, compiled",
    ]
