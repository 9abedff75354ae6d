"""Edits at full size on one device, in this process: each way to make them, one after the other.

A group of edits of one image, in random weights made on the device. Every figure is written when it is known, so that
a run that is cut off has lost nothing. PSNR is that of the same edits by the way that a way's pixels are to agree with.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from benchmarks.gpu.models import new_generator  # first: it adapts a CPU torch

import numpy as np  # isort: skip
import torch
from PIL import Image

from actors.generator import pipeline as pipeline_module
from actors.generator.acceleration import check_acceleration, known_backends
from actors.generator.config import GeneratorConfig
from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from benchmarks.gpu.results import Results, device_name, free, peak_gib, print_versions, wait
from rollout.types import EditRequest

GROUP = 8
BAR_SPEED, BAR_PSNR = 1.5, 30.0
"""What the fastest way has to reach: times as fast as eager, and dB."""
_OF_NO_USE = ("native", "_native_math", "flex")
"""Back-ends that are eager itself, or write out every product of a query and a key."""


@dataclass(frozen=True)
class Way:
    """One way to make edits."""

    name: str
    settings: dict[str, object] = field(default_factory=dict)
    agrees_with: str = "eager"
    """The way whose pixels it is to make."""
    is_shared: bool = True
    """The KV variant's reference is computed once a group; not: by the pipeline's own call, once an edit."""


_KV: dict[str, object] = {"name": "flux2-klein-kv"}
WAYS = (
    Way("eager"),
    Way("KV, its own call", _KV, agrees_with="KV, its own call", is_shared=False),
    Way("KV, shared reference", _KV, agrees_with="KV, its own call"),
    Way("KV, shared reference, compiled", _KV | {"compile": True}, agrees_with="KV, its own call"),
    Way("compiled", {"compile": True}),
)


def ways_here(part: str, has_gpu: bool) -> list[Way]:
    """Return all ways, with each attention back-end that this device and what is installed have.

    `part` of a name: those ways alone, and what they are compared with.
    """
    ways = list(WAYS)
    for name in known_backends():
        try:
            check_acceleration(GeneratorConfig(attention_backend=name, gpus_per_replica=int(has_gpu), dtype="bfloat16"))
        except ValueError:
            continue
        if name not in _OF_NO_USE:
            ways.append(Way(f"attention {name}", {"attention_backend": name}))
    wanted = {name for way in ways if part in way.name for name in ("eager", way.name, way.agrees_with)}
    return [way for way in ways if way.name in wanted]


def measure_edits(generator: str, ways: Sequence[Way], batch: int, side: int, file: Path, seconds: float) -> int:
    """Measure each way while there is time; return 0 where one meets the bars, else 1."""
    start, has_gpu = time.monotonic(), torch.cuda.is_available()
    results = Results(file, torch=torch.__version__, device=device_name(), generator=generator, side=side, batch=batch)
    drawn: dict[str, np.ndarray] = {}
    meets = {}
    for way in ways:
        if time.monotonic() - start > seconds:
            results.note(way.name, skipped="no time left")
            continue
        try:
            figures, drawn[way.name] = _measure(generator, way, batch, side, has_gpu)
        except (RuntimeError, ImportError, ValueError) as error:  # too little memory, or a kernel that is not there
            results.note(way.name, skipped=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
            if way.name == "eager":
                return 1
        else:
            figures["psnr_db"] = psnr(drawn[way.name], drawn[way.agrees_with]) if way.agrees_with in drawn else None
            results.note(way.name, **figures)
            if (figures["psnr_db"] or 0.0) >= BAR_PSNR:
                meets[way.name] = figures["images_per_second"] / results.found["eager"]["images_per_second"]
        free()
    best = max(meets, key=meets.__getitem__)
    results.note("best", way=best, times_eager=round(meets[best], 2), bar=BAR_SPEED, bar_psnr_db=BAR_PSNR)
    return int(meets[best] < BAR_SPEED)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of 8-bit images in dB, rounded; 99 of equal ones."""
    error = np.square(one.astype(np.float64) - other).mean()
    return round(min(99.0, 10 * math.log10(255**2 / error)), 2) if error else 99.0


def _measure(generator: str, way: Way, batch: int, side: int, has_gpu: bool) -> tuple[dict[str, float], np.ndarray]:
    began = time.monotonic()
    pipeline = _pipeline(generator, way, batch, side, has_gpu)
    if has_gpu:
        torch.cuda.reset_peak_memory_stats()
    _edit(pipeline, _picture(1, side), range(GROUP, GROUP + batch), batch)  # warms up, and compiles
    wait()
    ready, started = time.monotonic() - began, time.monotonic()
    images = _edit(pipeline, _picture(0, side), range(GROUP), batch)
    wait()
    figures = {
        "images_per_second": round(GROUP / (time.monotonic() - started), 3),
        "peak_gib": peak_gib(),
        "ready_after": round(ready, 1),
        **pipeline.counts(),
    }
    return figures, np.stack([np.asarray(image) for image in images])


def _pipeline(generator: str, way: Way, batch: int, side: int, has_gpu: bool) -> Pipeline:
    given = {"name": "flux2-klein", "height": side, "width": side, "max_batch_size": batch, **way.settings}
    device, dtype = ("cuda", "bfloat16") if has_gpu else ("cpu", "float32")
    with tempfile.TemporaryDirectory(prefix="gpu-generator-") as folder:
        config = resolve(GeneratorConfig(**given, model=folder, gpus_per_replica=int(has_gpu), dtype=dtype))
        made = new_generator(generator, device, config.pipeline)
        if not has_gpu:
            made.to(torch.float32)
        with patch.object(pipeline_module, "_load", lambda *_: made):
            pipeline = Pipeline(config)
    if not way.is_shared:
        del pipeline._pipeline.transformer.forward  # its class's own is left
    return pipeline


def _edit(pipeline: Pipeline, before: Image.Image, numbers: range, batch: int) -> list[Image.Image]:
    requests = [EditRequest(None, f"a red box, number {number}", number) for number in numbers]
    batches = (requests[first : first + batch] for first in range(0, len(requests), batch))
    return [image for some in batches for image in pipeline.draw([before], None, some)]


def _picture(seed: int, side: int) -> Image.Image:
    coarse = Image.fromarray(np.random.RandomState(seed).randint(0, 255, (16, 16, 3)).astype(np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def main(generator: str, part: str, batch: int, side: int, file: Path, seconds: float) -> int:
    """Say what is measured with what, and measure it."""
    print_versions("torch", "transformers", "diffusers", "flash_attn", "sageattention", "xformers", "kernels")
    ways = ways_here(part, has_gpu=torch.cuda.is_available())
    return measure_edits(generator, ways, batch, side, file, seconds)
