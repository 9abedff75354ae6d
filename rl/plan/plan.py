"""What a recipe will need, cost and take, without starting or downloading anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from actors.evidence.config import EvidenceConfig
from actors.generator.kind import kind_of as generator_kind
from actors.generator.kind import resolve as resolve_generator
from rl.plan.adapters import published_values
from rl.plan.cost import Calls, calls_of
from rl.plan.default_times import DefaultTimes
from rl.plan.devices import Devices
from rl.plan.gpu_times import GpuFigures, GpuTimes, read_gpu_figures
from rl.plan.memory import RoleMemory, generator_memory, policy_memory, sampler_memory
from rl.plan.missing import Missing, check_recipe, count_records, missing
from rl.plan.models import ModelSize, PipelineSize, model_size, pipeline_size
from rl.plan.placement import Placement, place, roles_of
from rl.plan.rules import rules_of
from rl.plan.run_times import RunTimes, read_run_times
from rl.plan.scaled_times import ScaledTimes
from rl.plan.splits import Split, best_split
from rl.plan.stages import Prediction, Stages, predict
from rl.plan.workload import NUM_IMAGES, Workload, image_pixels_of, workload_of
from rl.recipe.config import Recipe
from rl.recipe.paths import model_path, placed_generator


class Times(Protocol):
    """Where the times of stages are from."""

    def workload(self, recipe: Recipe) -> Workload:
        """Return what a recipe's step is made of."""

    def stages(self, recipe: Recipe) -> Stages:
        """Return the times of a recipe's stages."""


@dataclass(frozen=True)
class Sizes:
    """The models of a recipe; None: of a size that is not known, or at an endpoint."""

    policy: ModelSize | None
    generator: PipelineSize | None
    unknown: tuple[str, ...]
    """Recipe keys of models whose size is not known, with their names."""


@dataclass(frozen=True)
class Plan:
    """All of it."""

    recipe: Recipe
    devices: Devices
    sizes: Sizes
    placement: Placement
    memory: tuple[RoleMemory, ...]
    workload: Workload
    num_tasks: int | None
    """Training records; None: they are not here."""
    num_heldout: int | None
    """Held-out records."""
    calls: tuple[Calls, ...]
    stages: Stages | None
    """None: nothing tells them, as the card or the model is not known."""
    prediction: Prediction | None
    best: tuple[Split, Prediction] | None
    ahead: tuple[Split, Prediction] | None
    """The best split one step ahead, of a recipe that does not run ahead."""
    missing: tuple[Missing, ...]
    evidence: Mapping[str, EvidenceConfig]
    """Of the recipe's, what its reward needs."""

    @property
    def epoch_steps(self) -> float | None:
        """Steps of one pass over the training records."""
        return self.num_tasks / self.recipe.rollout.groups_per_step if self.num_tasks else None

    @property
    def unused_gpus(self) -> int:
        """GPUs that no role has any part of."""
        return self.devices.num_gpus - len({(one.node, gpu) for one in self.placement.placed for gpu in one.gpus})

    @property
    def fits(self) -> bool:
        """Whether the devices are enough for the recipe as it is, as far as memory can be estimated."""
        return not self.placement.lacks and all(role.fits for role in self.memory)

    @property
    def has_room(self) -> bool:
        """Whether each role has its devices, and they hold what is known exactly."""
        return not self.placement.lacks and not any(role.is_hopeless for role in self.memory)


def make_plan(recipe: Recipe, devices: Devices, times: Sequence[Path] = ()) -> Plan:
    """Plan a recipe for some devices; `times` are folders of runs and files of benchmarks.gpu.

    Raises ValueError for what is wrong with the recipe, and for times that cannot be read.
    """
    evidence = check_recipe(recipe)
    sizes = sizes_of(recipe)
    files = count_records(recipe)
    counted, heldout = files.get("train"), files.get("heldout")
    failed_share = counted[1] / counted[0] if counted and counted[0] else None
    expected = workload_of(recipe, sizes.policy, failed_share)
    source = _source(recipe, devices, sizes, expected, times)
    work = source.workload(recipe) if source else expected
    placement = place(roles_of(recipe), devices, recipe.colocated)
    stages = source.stages(recipe) if source else None
    cores = devices.num_nodes * devices.cores_per_node

    def memory_of(recipe: Recipe) -> list[RoleMemory]:
        return memory(recipe, sizes, devices)

    best = best_split(recipe, devices, source.stages, memory_of) if source else None
    ahead = None
    if source and best and not recipe.max_staleness:
        ahead = best_split(one_ahead(recipe), devices, source.stages, memory_of)
    return Plan(
        recipe,
        devices,
        sizes,
        placement,
        tuple(memory_of(recipe)),
        work,
        counted[0] if counted else None,
        heldout[0] if heldout else None,
        tuple(calls_of(recipe, work, heldout[0] if heldout else 0)),
        stages,
        predict(rules_of(recipe), stages, cores, takes_turns=recipe.is_colocated) if stages else None,
        best,
        ahead,
        tuple(missing(recipe, devices)),
        evidence,
    )


def one_ahead(recipe: Recipe) -> Recipe:
    """Return a recipe whose rollouts run one step ahead."""
    loss = replace(recipe.algorithm.loss, rollout_correction=recipe.algorithm.loss.rollout_correction or "token")
    return replace(recipe, max_staleness=1, algorithm=replace(recipe.algorithm, loss=loss))


def sizes_of(recipe: Recipe) -> Sizes:
    """Return the sizes of a recipe's models."""
    generator = placed_generator(resolve_generator(recipe.generator))
    policy = model_size(model_path(recipe.policy.model, "policy.model"))
    pipeline, unknown = None, []
    if policy is None:
        unknown.append(f"policy.model {recipe.policy.model}")
    if generator_kind(generator).has_pipeline:
        pipeline = pipeline_size(generator.model)
        if pipeline is None:
            unknown.append(f"generator.model {generator.model}")
    return Sizes(policy, pipeline, tuple(unknown))


def memory(recipe: Recipe, sizes: Sizes, devices: Devices) -> list[RoleMemory]:
    """Return what the roles whose models are known hold on one GPU each."""
    found = []
    if sizes.policy is not None:
        tokens = NUM_IMAGES * image_pixels_of(recipe) / sizes.policy.pixels_per_token
        has_reference = recipe.algorithm.loss.kl_coef > 0
        found.append(
            policy_memory(
                recipe.policy, sizes.policy, devices.card, image_tokens=round(tokens), has_reference=has_reference
            )
        )
        held = published_values(recipe, sizes.policy) if recipe.samplers.as_adapters else 0
        sampler = sampler_memory(recipe.samplers, sizes.policy, devices.card, num_adapter_values=held)
        found.append(
            replace(sampler, note=f"in turn with the policy; {sampler.note}") if recipe.is_colocated else sampler
        )
    if sizes.generator is not None:
        generator = resolve_generator(recipe.generator)
        pixels = image_pixels_of(recipe)
        found.append(generator_memory(generator, sizes.generator, devices.card, image_pixels=pixels))
    return found


def _source(recipe: Recipe, devices: Devices, sizes: Sizes, expected: Workload, paths: Sequence[Path]) -> Times | None:
    """Return the times of runs or files that were named, the last run first of all; None where nothing tells any."""
    runs: list[RunTimes] = []
    figures: GpuFigures | None = None
    for path in paths:
        if path.is_dir():
            runs.append(read_run_times(path))
        elif path.is_file():
            figures = read_gpu_figures(path, figures)
        else:
            raise ValueError(f"--times {path}: there is no such folder or file")
    if runs:
        return ScaledTimes(runs[-1], devices.card)
    needs_card = bool(recipe.policy.gpus_per_rank or recipe.samplers.gpus_per_sampler)
    if sizes.policy is None or (needs_card and devices.card is None):
        return None
    defaults = DefaultTimes(sizes.policy, sizes.generator, devices.card, expected)
    return GpuTimes(defaults, figures) if figures else defaults
