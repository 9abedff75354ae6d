"""Times for a recipe of which nothing has been measured: operations, over what of a card's speed is usually reached.

Each constant says where it is from; docs/plan.md has them side by side. They are for deciding what to rent, not for
more: a run of a few steps (`--times RUN`) tells better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.generator.config import GeneratorConfig
from actors.generator.kind import kind_of
from actors.generator.kind import resolve as resolve_generator
from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of
from rl.plan.adapters import published_values
from rl.plan.cards import Card
from rl.plan.engine import CPU_PARAMETERS, engine_times, tower_flops
from rl.plan.models import ModelSize, PipelineSize
from rl.plan.rules import rules_of
from rl.plan.stage_times import Spread, Work
from rl.plan.stages import Stages
from rl.plan.tensor_shapes import HEAD, LAYERS
from rl.plan.workload import LENGTH_SIGMA, NUM_IMAGES, Workload, has_whole_groups
from rl.recipe.config import Recipe
from rollout.text.limits import is_own

UPDATE_SHARE = 0.35
"""Of the card's TFLOP/s in an update: 30 to 40 % in FSDP2 fine-tuning of VLMs of 7 to 8 billion (lmms-engine)."""
EDIT_SHARE = 0.44
"""Of the card's TFLOP/s in an edit: 0.68 images/s of FLUX.2-klein-9B on an H200 (benchmarks/RESULTS.md)."""
PUBLISH_S_PER_GB = 0.15
"""verl's NCCL transfer 0.12 (its checkpoint_engine/README.md), and our verification (benchmarks/RESULTS.md)."""
JUDGE = Spread(4.0, 0.8)
"""Seconds of one call of a judge that is asked over HTTP (assumed: a median of 4 s, and a long tail)."""
IMAGE_API_S = 20.0
"""Seconds of one image from an API, or from a class of the user's own (assumed)."""
SCORER_S = 0.02
"""Seconds of a function that scores images (assumed)."""
PROMPT_ENCODING_TOKENS = 512
"""Of a generator's prompt."""
CPU_UPDATE_TOKENS_PER_S = 3600.0
"""Tokens through the text layers of two million parameters, a second and rank: the demo's update of 24 groups of 8, in
1.9 s on two idle cores (benchmarks/RESULTS.md) ..."""
CPU_IMAGE_S = 0.06
"""... an image of 64 x 64 in 4 steps with 1.6 million parameters in the transformer ..."""
CPU_IMAGE_PARAMETERS = 1.6e6
CPU_PUBLISH_S = 0.35
"""... and a publish, whatever its size below 100 MB."""
SOURCE = "documented defaults"
OWN_SOURCE = "not known: as an API's"


@dataclass(frozen=True)
class DefaultTimes:
    """Times by arithmetic, on cards of one kind; None: on CPU cores."""

    model: ModelSize
    pipeline: PipelineSize | None
    card: Card | None
    step: Workload

    def workload(self, recipe: Recipe) -> Workload:
        """Return what a step is made of."""
        return self.step

    def stages(self, recipe: Recipe) -> Stages:
        """Return the times of a recipe's stages."""
        work = self.step
        card = self.card if recipe.samplers.gpus_per_sampler else None
        response = engine_times(recipe.samplers, self.model, card, work).response_s(work.response_tokens)
        update, publish = self._update(recipe), self._publish(recipe)
        spreads: dict[Work, Spread] = {
            Work.SAMPLE: Spread.of_mean(response, LENGTH_SIGMA),
            Work.GENERATE: Spread(self._edit(recipe)),
            Work.JUDGE: _judge(recipe.judge),
            Work.UPDATE: Spread(update),
            Work.PUBLISH: Spread(publish),
        }
        in_flight = min(work.samples, rules_of(recipe).sampler_places)
        return Stages(
            spreads,
            work.edited_share,
            has_whole_groups(recipe),
            sampler_places=round(in_flight),
            core_seconds=self._core_seconds(recipe, spreads),
            sources={
                **dict.fromkeys(("samplers", "judge", "policy"), SOURCE),
                "generator": OWN_SOURCE if is_own(recipe.generator.kind) else SOURCE,
            },
        )

    def _update(self, recipe: Recipe) -> float:
        policy, work = recipe.policy, self.step
        tokens = work.trained_tokens if policy.shared_prefix else work.samples * work.prompt_tokens + work.response_sum
        if self.card is None or not policy.gpus_per_rank:
            slower = max(1.0, self.model.num_parameters / CPU_PARAMETERS)
            return tokens * slower / CPU_UPDATE_TOKENS_PER_S / policy.num_ranks / policy.num_threads
        flops = update_flops(recipe, self.model, work)
        return flops / (self.card.tflops * 1e12 * UPDATE_SHARE * policy.num_ranks)

    def _publish(self, recipe: Recipe) -> float:
        if self.card is None or not recipe.policy.gpus_per_rank:
            return CPU_PUBLISH_S
        size = 4 if recipe.samplers.dtype == "float32" else 2
        return published_values(recipe, self.model) * size / 1e9 * PUBLISH_S_PER_GB

    def _edit(self, recipe: Recipe) -> float:
        generator = resolve_generator(recipe.generator)
        if not kind_of(generator).has_pipeline:
            return IMAGE_API_S
        on_card = self.card if generator.gpus_per_replica else None
        steps = int(generator.call.get("num_inference_steps", 28))
        size = self.pipeline.transformer if self.pipeline else 10_000_000_000
        if on_card is None:
            slower = max(1.0, size / CPU_IMAGE_PARAMETERS) * self.step.image_pixels / 64**2 * steps / 4
            return CPU_IMAGE_S * slower / generator.num_threads
        return edit_flops(size, self.step.image_pixels, steps, generator) / (on_card.tflops * 1e12 * EDIT_SHARE)

    def _core_seconds(self, recipe: Recipe, spreads: Mapping[Work, Spread]) -> float:
        """Return what a step computes where everything runs on this machine's cores; 0 where it does not."""
        policy, samplers, work = recipe.policy, recipe.samplers, self.step
        if policy.gpus_per_rank or samplers.gpus_per_sampler or recipe.generator.gpus_of_each:
            return 0.0
        # Any other generator is waited for: what a class of the user's own computes here is not known.
        is_made_here = kind_of(resolve_generator(recipe.generator)).has_pipeline
        made = work.samples * work.edited_share if is_made_here else 0.0
        edits = made * spreads[Work.GENERATE].mean * recipe.generator.num_threads
        updates = spreads[Work.UPDATE].mean * policy.num_ranks * policy.num_threads
        engines = spreads[Work.SAMPLE].mean * samplers.num_samplers * samplers.num_threads
        judge = traits_of(recipe.judge.kind)
        is_here = not (judge.is_asked or judge.has_members)  # a function computes, too
        looks = work.samples * work.edited_share * spreads[Work.JUDGE].mean if is_here else 0.0
        return edits + looks + updates + engines + spreads[Work.PUBLISH].mean


def update_flops(recipe: Recipe, model: ModelSize, work: Workload) -> float:
    """Return the operations of one update, those that gradient checkpointing repeats and a reference's included."""
    policy, text = recipe.policy, model.text
    heads = int(text["num_attention_heads"]) * model.head_dim
    shared = policy.shared_prefix
    tokens = work.trained_tokens if shared else work.learned_share * work.samples * work.prompt_tokens
    tokens += 0 if shared else work.learned_share * work.response_sum
    length = work.prompt_tokens + work.response_tokens
    forward = tokens * (2 * model.parts[LAYERS] + 2 * length * heads * model.num_layers)
    rows = work.learned_share * work.response_sum if shared else tokens
    head = rows * 2 * (model.parts[HEAD] or model.vocabulary * model.hidden_size)
    images = NUM_IMAGES * work.learned_share * (work.groups if shared else work.samples)
    tower = images * tower_flops(model, work)
    again = 1.0 - policy.kept_activations if policy.gradient_checkpointing else 0.0
    backward = 1.0 if policy.lora.rank else 2.0  # of frozen weights no gradients are computed
    passes = 1 + backward + again
    whole = forward * passes + head * (passes if not shared else 2 + backward)
    whole += tower * (1.0 if policy.freeze_vision else passes)
    if recipe.algorithm.loss.kl_coef > 0:
        whole += forward + head
    return whole * recipe.algorithm.loss.num_epochs


def edit_flops(parameters: int, pixels: float, steps: int, generator: GeneratorConfig) -> float:
    """Return the operations of an edit: of each step the tokens of the image, of the one before it, and of the prompt.

    A token is 16 x 16 pixels; classifier-free guidance computes each step twice. 0.64 PFLOP at 9 billion parameters,
    one megapixel and four steps.
    """
    tokens = 2 * pixels / 256 + PROMPT_ENCODING_TOKENS
    is_guided = float(generator.call.get("true_cfg_scale", 1.0)) > 1
    return 2.0 * parameters * tokens * steps * (2 if is_guided else 1)


def _judge(config: JudgeConfig) -> Spread:
    kind = traits_of(config.kind)
    return JUDGE if kind.is_asked or kind.has_members else Spread(SCORER_S)
