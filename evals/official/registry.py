"""The public benchmarks by their names: each is a line here and a class in a file of its own, imported on demand."""

from importlib import import_module

from evals.official.benchmark import Benchmark

BENCHMARKS = {
    "ueval": "evals.official.ueval:BENCHMARK",
    "wise": "evals.official.wise:ORIGINAL",
    "wise_verified": "evals.official.wise:VERIFIED",
    "rise": "evals.official.rise:BENCHMARK",
    "gedit": "evals.official.gedit:BENCHMARK",
    "imgedit": "evals.official.imgedit:BENCHMARK",
    "opening": "evals.official.opening:BENCHMARK",
    "isg": "evals.official.isg:BENCHMARK",
}


def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by its name. Raises ValueError."""
    if name not in BENCHMARKS:
        raise ValueError(f"there is no benchmark {name!r}; known are {', '.join(BENCHMARKS)}")
    module, _, constant = BENCHMARKS[name].partition(":")
    benchmark: Benchmark = getattr(import_module(module), constant)
    return benchmark
