"""A verified publish on one GPU, by each transport that leads there: two processes, tensors in the released shapes.

A plain copy of the same bytes on the GPU is the measure beside it. Every figure is written when it is known.
"""

import os
import time
from pathlib import Path
from statistics import median

import ray
import torch

from benchmarks.gpu.results import Results, device_name, print_versions
from benchmarks.publish_speed.sides import Receiving, Sending, Setting

BAR = 0.15
"""Seconds that a verified publish may take a GB, by CUDA IPC."""
WAYS = ("cuda_ipc", "changes", "shared_memory")
ROUNDS = 3
CHANGED = 0.01


def main(gigabytes: float, file: Path, seconds: float) -> int:
    """Measure each way while there is time; return 1 where the bar is missed or could not be measured."""
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.gpu --part weights needs an NVIDIA GPU")
    start = time.monotonic()
    print_versions("torch", "ray")
    setting = Setting(max(1, round(gigabytes / (Setting(1, "cuda", "bfloat16").num_bytes / 1e9))), "cuda", "bfloat16")
    results = Results(file, torch=torch.__version__, device=device_name(), gigabytes=setting.num_bytes / 1e9)
    # Both processes see the one GPU, which Ray would hide from actors that ask for none.
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        receiver = Receiving.remote(setting)
        sender = Sending.remote(receiver, setting)
        copies = [ray.get(sender.copy.remote()) for _ in range(ROUNDS)]
        results.note("plain copy", seconds=round(median(copies), 4))
        for way in WAYS:
            if time.monotonic() - start > seconds:
                results.note(way, skipped="no time left")
                continue
            results.note(way, **_measure(sender, way, setting))
    finally:
        ray.shutdown()
    per_gb = results.found["cuda_ipc"].get("seconds_per_gb")
    print(f"verified publish by CUDA IPC: {per_gb} s/GB; bar: at most {BAR:g}")
    return int(per_gb is None or per_gb > BAR)


def _measure(sender: object, way: str, setting: Setting) -> dict[str, object]:
    found = []
    try:
        for _ in range(ROUNDS + 1):
            ray.get(sender.change.remote(CHANGED))
            found.append(ray.get(sender.publish.remote(way)))
    except Exception as error:
        return {"skipped": f"{type(error).__name__}: {str(error).splitlines()[-1][:200]}"}
    figures = {name: median(each[name] for each in found[1:]) for name in found[0]}  # the first one warms up
    return {
        "seconds_per_gb": round(figures["whole"] / (setting.num_bytes / 1e9), 4),
        **{name: round(value, 4) for name, value in figures.items()},
    }
