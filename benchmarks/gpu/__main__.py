"""What training costs at full size on one GPU: `python -m benchmarks.gpu [--part update] [--critic Qwen3-VL-8B] [...]`.

Random weights in the published shapes, so nothing is downloaded. `--part run` measures sampler, policy and generator as
the actors and the pipeline that a run has; the others one thing alone: `--part update` each way to do an update,
`--part generator` likewise to edit, `--part sampler` our sampler and vLLM itself, `--part weights` a publish.
"""

import argparse
import importlib
from pathlib import Path

from benchmarks.ending import run_main
from benchmarks.gpu.models import CRITICS, GENERATORS

_GROUPS = {"update": 4, "sampler": 16}
"""Parts that are measured alone, and the groups of each."""


def main(arguments: list[str] | None = None) -> int:
    chosen = _arguments(arguments)
    if chosen.part in ("update", "sampler"):
        part = importlib.import_module(f"benchmarks.gpu.{chosen.part}")
        groups = chosen.groups or _GROUPS[chosen.part]
        code: int = part.main(chosen.critic, groups, chosen.tokens, chosen.pixels, chosen.out, chosen.seconds)
        return code
    if chosen.part == "generator":
        from benchmarks.gpu import generator

        return generator.main(chosen.generator, chosen.ways, chosen.batch, chosen.pixels, chosen.out, chosen.seconds)
    if chosen.part == "weights":
        from benchmarks.gpu import weights

        return weights.main(chosen.gigabytes, chosen.out, chosen.seconds)
    from benchmarks.gpu import run

    return run.main(chosen)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--part", choices=["run", "update", "sampler", "generator", "weights"], default="run", help="default: run"
    )
    parser.add_argument("--critic", default="Qwen3-VL-4B", choices=["", *CRITICS], help="default: Qwen3-VL-4B")
    parser.add_argument("--tokens", type=int, default=400, help="of a response; default: 400")
    parser.add_argument("--pixels", type=int, default=1024, help="of an image's side, 256 or more; default: 1024")
    parser.add_argument("--lora", type=int, default=0, help="rank of adapters; default: 0, the model is trained whole")
    parser.add_argument("--generator", default="FLUX.2-klein-4B", choices=["", *GENERATORS])
    alone = parser.add_argument_group("all parts but run")
    alone.add_argument("--out", type=Path, default=None, help="default: gpu_PART.json")
    alone.add_argument(
        "--seconds",
        type=float,
        default=200,
        help="no further way is begun after these (sampler: or ended); default: 200",
    )
    alone.add_argument("--groups", type=int, default=0, help="of 8 rows; default: 4 (update), 16 (sampler)")
    alone.add_argument("--ways", default="", help="generator: part of their names; default: all")
    alone.add_argument("--batch", type=int, default=2, help="generator: edits that share a forward pass; default: 2")
    alone.add_argument("--gigabytes", type=float, default=8.0, help="weights: of tensors, in bfloat16; default: 8")
    run = parser.add_argument_group("--part run")
    run.add_argument("--samples", type=int, default=64, help="of one step; default: 64")
    run.add_argument("--attention", default="sdpa", help="of the policy; default: sdpa")
    run.add_argument("--memory", type=float, default=0.25, help="the sampler's share of the GPU; default: 0.25")
    run.add_argument("--graphs", action="store_true", help="let vLLM compile and capture CUDA graphs")
    run.add_argument("--batches", default="1,2,4,8", help="sizes of the generator's batches; default: 1,2,4,8")
    run.add_argument("--folder", default=None, help="where the random weights are for a while (10 to 40 GB)")
    chosen = parser.parse_args(arguments)
    chosen.out = chosen.out or Path(f"gpu_{chosen.part}.json")
    if chosen.part == "generator" and (not chosen.generator or chosen.batch < 1):
        parser.error("--part generator needs a --generator, and a --batch of 1 or more")
    return chosen


if __name__ == "__main__":
    run_main(main)
