"""The times of an earlier run, for another recipe: more or fewer samples, ranks, engines and replicas."""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.generator.kind import resolve as resolve_generator
from actors.judge.registry import traits_of
from rl.plan.cards import Card, card_of
from rl.plan.engine import engine_times
from rl.plan.models import model_size
from rl.plan.rules import rules_of
from rl.plan.run_times import RunTimes
from rl.plan.stage_times import Spread, Work
from rl.plan.stages import Quantiles, Stages
from rl.plan.workload import Workload, has_whole_groups
from rl.recipe.config import Recipe
from rollout.text.limits import is_own


@dataclass(frozen=True)
class ScaledTimes:
    """Times by a run; its card is taken to be that of the plan."""

    run: RunTimes
    card: Card | None = None
    """None: one that is not known, of which an H100 tells how much longer more responses take."""

    def workload(self, recipe: Recipe) -> Workload:
        """Return a recipe's step with lengths and shares as they were in the run."""
        return replace(self.run.workload, groups=recipe.rollout.groups_per_step, n=recipe.rollout.n)

    def stages(self, recipe: Recipe) -> Stages:
        """Return the times of a recipe's stages."""
        run, work = self.run, self.workload(recipe)
        policy, before = recipe.policy, run.recipe.policy
        update = run.update_s * work.trained_tokens / run.workload.trained_tokens * before.num_ranks / policy.num_ranks
        rest = run.publish_s + run.driver_s
        responses = Quantiles.of(run.responses).times(self._slower(recipe, work))
        spreads: dict[Work, Spread] = {Work.SAMPLE: responses, Work.UPDATE: Spread(update), Work.PUBLISH: Spread(rest)}
        if run.edits:
            spreads[Work.GENERATE] = Quantiles.of(run.edits).times(self._slower_edit(recipe))
        if run.judge_calls:
            spreads[Work.JUDGE] = Quantiles.of(run.judge_calls)
        in_flight = min(work.samples, rules_of(recipe).sampler_places)
        return Stages(
            spreads,
            work.edited_share,
            has_whole_groups(recipe),
            sampler_places=round(in_flight) if run.engine_s else None,
            generator_places=recipe.generator.most_replicas if is_own(recipe.generator.kind) else None,
            core_seconds=self._core_seconds(recipe, work, update),
            sources=dict.fromkeys(("samplers", "generator", "judge", "policy"), run.source),
        )

    def _slower(self, recipe: Recipe, work: Workload) -> float:
        """Return how much longer a response takes here: engines share their time between those in flight.

        Samplers that do not tell how long they worked are no engines of ours: their times do not depend on it.
        """
        run, model = self.run, model_size(recipe.policy.model)
        if not run.engine_s or model is None:
            return 1.0
        card = self.card or card_of("H100")
        here = engine_times(recipe.samplers, model, card, work).response_s(work.response_tokens)
        there = engine_times(run.recipe.samplers, model, card, run.workload)
        return here / there.response_s(work.response_tokens)

    def _slower_edit(self, recipe: Recipe) -> float:
        """Return how much longer an image takes here: smaller groups make smaller batches."""
        size, before = (
            min(one.rollout.n, max(1, resolve_generator(one.generator).max_batch_size))
            for one in (recipe, self.run.recipe)
        )
        return self.run.batches.slower(max(1.0, self.run.batches.mean_size * size / before))

    def _core_seconds(self, recipe: Recipe, work: Workload, update_s: float) -> float:
        """Return what a step computes where everything runs on this machine's cores; 0 where it does not."""
        run, policy, samplers = self.run, recipe.policy, recipe.samplers
        if policy.gpus_per_rank or samplers.gpus_per_sampler or recipe.generator.gpus_of_each or not run.engine_s:
            return 0.0
        engines = run.engine_s * run.recipe.samplers.num_samplers * self._slower(recipe, work)
        tried = work.samples * work.edited_share
        edits = tried * (Quantiles.of(run.edits).mean if run.edits else 0.0)
        judge = traits_of(recipe.judge.kind)
        is_here = bool(run.judge_calls) and not (judge.is_asked or judge.has_members)  # a function computes, too
        looks = tried * Quantiles.of(run.judge_calls).mean if is_here else 0.0
        return (
            update_s * policy.num_ranks * policy.num_threads
            + looks
            + run.publish_s
            + run.driver_s
            + engines * samplers.num_threads
            + edits * self._slower_edit(recipe) * recipe.generator.num_threads
        )
