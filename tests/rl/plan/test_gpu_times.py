"""Figures of benchmarks.gpu in place of defaults."""

import json
from dataclasses import replace

import pytest

from rl.plan.cards import card_of
from rl.plan.default_times import DefaultTimes
from rl.plan.gpu_times import GpuTimes, read_gpu_figures
from rl.plan.known_models import CRITICS, PIPELINES
from rl.plan.models import ModelSize, PipelineSize
from rl.plan.stage_times import Work
from rl.plan.workload import Workload
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

RECIPE = load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["policy.num_ranks=1", "samplers.num_samplers=1"])
STEP = Workload(4, 8, 2120, 400, 2**20, 0.5)
DEFAULTS = DefaultTimes(
    ModelSize("8B", CRITICS["Qwen3-VL-8B"], "here"),
    PipelineSize("9B", PIPELINES["FLUX.2-klein-9B"], "here"),
    card_of("H200"),
    STEP,
)
FILES = {
    "update": {"device": "NVIDIA H200", "critic": "Qwen3-VL-8B", "shared": {"row_tokens_per_second": 20160.0}},
    "sampler": {
        "device": "NVIDIA H200",
        "critic": "Qwen3-VL-8B",
        "groups": 4,
        "ours": {"tokens_per_second": 1280.0},
        "vLLM in-process": {"tokens_per_second": 9.0},
    },
    "generator": {
        "device": "NVIDIA H200",
        "side": 1024,
        "KV, shared reference": {"images_per_second": 2.0},
        "eager": {"images_per_second": 0.5},
    },
    "weights": {"device": "NVIDIA H200", "cuda_ipc": {"seconds_per_gb": 0.1}},
}


@pytest.fixture
def figures(tmp_path):
    found = None
    for name, said in FILES.items():
        (tmp_path / f"gpu_{name}.json").write_text(json.dumps(said))
        found = read_gpu_figures(tmp_path / f"gpu_{name}.json", found)
    return found


def means(times, recipe=RECIPE):
    return {work: spread.mean for work, spread in times.stages(recipe).spreads.items()}


def test_what_was_measured_is_what_the_same_work_takes(figures):
    found = means(GpuTimes(DEFAULTS, figures))
    assert found[Work.UPDATE] == pytest.approx(4 * 8 * 2520 / 20160.0)
    assert found[Work.SAMPLE] == pytest.approx(4 * 8 * 400 / 1280.0)
    assert found[Work.GENERATE] == pytest.approx(1 / 0.5), "eager, as the recipe has it"
    assert found[Work.PUBLISH] == pytest.approx(DEFAULTS.model.num_parameters * 2 / 1e9 * 0.1)
    assert found[Work.JUDGE] == means(DEFAULTS)[Work.JUDGE]


def test_other_work_and_other_cards_take_as_much_longer_as_by_default(figures):
    two = load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["policy.num_ranks=2", "samplers.num_samplers=1"])
    slow = replace(DEFAULTS, card=card_of("A100"))
    found, default = means(GpuTimes(slow, figures), two), means(slow, two)
    ratio = means(GpuTimes(DEFAULTS, figures))[Work.UPDATE] / means(DEFAULTS)[Work.UPDATE]
    assert found[Work.UPDATE] == pytest.approx(default[Work.UPDATE] * ratio)
    assert found[Work.GENERATE] == pytest.approx(2.0 * 989 / 312)


def test_sources_name_the_files(figures, tmp_path):
    sources = GpuTimes(DEFAULTS, figures).stages(RECIPE).sources
    assert sources["policy"] == f"{tmp_path}/gpu_update.json"
    assert sources["judge"] == "documented defaults"


def test_a_pipelines_figures_say_nothing_of_a_class_of_the_users_own(figures):
    own = load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["generator.name=", "generator.kind=my_module:Mine"])
    stages = GpuTimes(DEFAULTS, figures).stages(own)
    assert (stages.spreads[Work.GENERATE].mean, stages.sources["generator"]) == (20.0, "not known: as an API's")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"shared": {"skipped": "no time left"}}'])
def test_a_file_without_figures_is_said(tmp_path, text):
    (tmp_path / "gpu.json").write_text(text)
    with pytest.raises(ValueError, match="--times"):
        read_gpu_figures(tmp_path / "gpu.json")
