"""How often a run asks for what is paid for, and what that costs by the recipe's prices."""

from __future__ import annotations

from dataclasses import dataclass

from actors.generator.config import GeneratorConfig
from actors.generator.kind import kind_of as generator_kind
from actors.generator.kind import resolve as resolve_generator
from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of
from actors.metered.config import EndpointConfig
from rl.plan.judges import judges_asked
from rl.plan.workload import Workload, baseline_calls
from rl.recipe.config import Recipe

IMAGE_TOKENS = 765
"""Of a 1024 x 1024 image in high detail, as OpenAI counts them for gpt-4o and gpt-4.1."""
RUBRIC_TOKENS, ANSWER_TOKENS = 450, 150
"""Of a question without its images, and of its answer (estimated)."""
_IMAGES_OF_LOOK = 3
"""Semantics are judged with both images, quality with the new one alone."""


@dataclass(frozen=True)
class Calls:
    """Requests to one service; equal ones that the store answers are not left out."""

    service: str
    per_step: float
    per_run: float
    """Evaluations before, during and after training included."""
    usd_per_call: float
    is_priced: bool
    """Whether it costs anything, and the recipe says what."""
    missing_price: str = ""
    """The recipe's keys of its price, where it is paid for and the recipe names no price."""
    budget_calls: float = 0.0
    budget_usd: float = 0.0

    @property
    def usd_per_step(self) -> float:
        return self.per_step * self.usd_per_call

    @property
    def usd_per_run(self) -> float:
        return self.per_run * self.usd_per_call

    @property
    def budget_steps(self) -> float | None:
        """Training steps that the budget lasts for; None: there is none."""
        lasts = []
        if self.budget_calls:
            lasts.append(self.budget_calls / self.per_step)
        if self.budget_usd and self.usd_per_step:
            lasts.append(self.budget_usd / self.usd_per_step)
        return min(lasts) if lasts else None


def calls_of(recipe: Recipe, work: Workload, num_heldout: int = 0) -> list[Calls]:
    """Return what a recipe's generator and judges are asked for; `num_heldout` tasks are held out (0: not known)."""
    tried, evaluated = work.samples * work.edited_share, evaluation_samples(recipe, num_heldout) * work.edited_share
    looks, looks_of_run = tried, recipe.num_steps * tried + evaluated
    if baseline_calls(recipe):  # of each task's own attempt, which is asked for once
        looks += work.groups * work.edited_share
        looks_of_run += recipe.num_steps * work.groups * work.edited_share + evaluated
    generator = resolve_generator(recipe.generator)
    found = [_calls_of_generator(generator, tried, recipe.num_steps * tried + evaluated)]
    for name, judge in judges_asked(recipe):
        number = judge.repeats * questions(judge)
        is_paid, usd = traits_of(judge.kind).has_prices, judge_usd(judge)
        found.append(
            Calls(
                name,
                looks * number,
                looks_of_run * number,
                usd,
                is_priced=is_paid and usd > 0,
                missing_price=_price_key(name, judge) if is_paid and not usd else "",
                budget_calls=judge.budget_calls,
                budget_usd=judge.budget_usd,
            )
        )
    return found


def evaluation_samples(recipe: Recipe, num_heldout: int) -> float:
    """Return the samples of all evaluations."""
    settings = recipe.evaluation
    most = num_heldout or max(settings.num_tasks, settings.num_tasks_during)
    at_ends = min(settings.num_tasks or most, most)
    during = (
        (recipe.num_steps - 1) // settings.every * min(settings.num_tasks_during or most, most) if settings.every else 0
    )
    return settings.num_seeds * float(2 * at_ends + during)


def questions(judge: JudgeConfig) -> int:
    """Return the calls of one look: the rubric asks for semantics and quality apart."""
    return 2 if traits_of(judge.kind).is_asked and judge.rubric == "scores" else 1


def judge_usd(judge: JudgeConfig) -> float:
    """Return what a call costs by the recipe's prices, the mean of its endpoints; 0 where it has none."""
    sellers: list[JudgeConfig | EndpointConfig] = [*judge.endpoints] or [judge]
    tokens_in = RUBRIC_TOKENS + IMAGE_TOKENS * _IMAGES_OF_LOOK / 2
    return sum(
        tokens_in * one.usd_per_million_input_tokens + ANSWER_TOKENS * one.usd_per_million_output_tokens
        for one in sellers
    ) / (1e6 * len(sellers))


def _price_key(name: str, judge: JudgeConfig) -> str:
    where = f"{name}.endpoints.0" if judge.endpoints else name
    return f"{where}.usd_per_million_input_tokens and ..._output_tokens"


def _calls_of_generator(generator: GeneratorConfig, per_step: float, per_run: float) -> Calls:
    is_paid, usd = generator_kind(generator).has_prices, generator.usd_per_image
    return Calls(
        "generator",
        per_step,
        per_run,
        usd,
        is_priced=is_paid and usd > 0,
        missing_price="generator.usd_per_image" if is_paid and not usd and not generator.server.command else "",
        budget_calls=generator.budget_calls,
        budget_usd=generator.budget_usd,
    )
