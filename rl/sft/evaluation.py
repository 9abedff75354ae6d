"""Evaluation of a model in SFT: its loss on held-out records, and the quality of its greedy answers."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

from data.records.sft import Kind
from rl.atomic_write import atomic_write
from rl.recipe.sft_config import SftRecipe
from rl.sft.examples import Conversation
from rollout.concurrency import all_of
from rollout.roles import Policy, Sampler, SamplerError
from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.plan import Mode, Plan, PlanError, parse_plan
from rollout.types import Critique, Response, SampleRequest, SamplingParams, SftExample

Figures = dict[str, float]
_IN_FLIGHT = 256
_EXAMPLES_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class EvaluatedAnswer:
    """A greedy answer, measured."""

    id: str
    text: str
    parse_error: str
    """Empty: it parses."""
    is_success: bool | None
    """Critic: the true verdict."""
    is_right: bool
    """The verdict is right, or the plan has as many steps as the record's."""
    is_truncated: bool
    same_instructions: float = 0.0
    """Planner: the share of the record's steps whose instruction is repeated word for word."""


class SftEvaluator:
    """Measures the current policy."""

    def __init__(
        self,
        recipe: SftRecipe,
        policy: Policy,
        samplers: Sampler | None,
        *,
        examples: Sequence[SftExample],
        questions: Sequence[Conversation],
    ):
        """`examples` are for the loss; `questions` are answered by `samplers` (None: no answers)."""
        self._recipe = recipe
        self._policy = policy
        self._samplers = samplers
        self._examples = examples
        self._questions = questions

    async def __call__(self, step: int) -> Figures:
        """Return figures keyed `eval/...` and those of the publish; write the answers to the run's folder."""
        figures = {"eval/loss": await self._loss()} if self._examples else {}
        if self._samplers is None or not self._questions:
            return figures
        figures |= await self._policy.publish(self._samplers)
        limit = asyncio.Semaphore(_IN_FLIGHT)
        found = await all_of([self._ask(question, limit) for question in self._questions])
        answers = [answer for answer in found if answer is not None]
        await asyncio.to_thread(_write, Path(self._recipe.run_dir) / f"answers_{step:06d}.jsonl", answers)
        figures["eval/failed_answers"] = float(len(found) - len(answers))
        return figures | answer_figures(answers, Kind(self._recipe.data.kind))

    async def _loss(self) -> float:
        """Return the mean over all held-out answers' tokens."""
        total = 0.0
        for start in range(0, len(self._examples), _EXAMPLES_AT_ONCE):
            total += sum(await self._policy.losses(self._examples[start : start + _EXAMPLES_AT_ONCE]))
        return total / sum(example.num_target_tokens for example in self._examples)

    async def _ask(self, question: Conversation, limit: asyncio.Semaphore) -> EvaluatedAnswer | None:
        """Return the answer; None if the sampler failed."""
        params = SamplingParams(temperature=0.0, max_tokens=self._recipe.evaluation.max_tokens)
        request = SampleRequest(question.messages[:-1], question.images, params, seed=0)
        assert self._samplers is not None
        try:
            async with limit:
                response = await self._samplers.sample(request)
        except SamplerError:
            return None
        return measure(question, response)


def measure(question: Conversation, response: Response) -> EvaluatedAnswer:
    """Measure a response as the answer to a record's question."""
    truth = question.record.answer
    parse: Callable[[str], Critique | Plan] = parse_critique
    if isinstance(truth, Plan):
        parse = partial(parse_plan, mode=Mode.GUIDANCE if question.images else Mode.NARRATIVE)
    parse_error, is_right, same = "truncated" if response.is_truncated else "", False, 0.0
    if not parse_error:
        try:
            said = parse(response.text)
            is_right, same = _agrees(said, truth), _same_instructions(said, truth)
        except (CritiqueError, PlanError) as error:
            parse_error = error.kind
    is_success = truth.is_success if isinstance(truth, Critique) else None
    return EvaluatedAnswer(question.id, response.text, parse_error, is_success, is_right, response.is_truncated, same)


def answer_figures(answers: Sequence[EvaluatedAnswer], kind: Kind) -> Figures:
    """Return `eval/...` over all answers; one that does not parse is wrong. Empty without answers."""
    if not answers:
        return {}
    figures = {
        "eval/parse_rate": fmean(not answer.parse_error for answer in answers),
        "eval/truncated_share": fmean(answer.is_truncated for answer in answers),
    }
    for name, count in Counter(answer.parse_error for answer in answers if answer.parse_error).items():
        figures[f"eval/format_errors/{name}"] = float(count)
    accuracy = fmean(answer.is_right for answer in answers)
    if kind is Kind.PLANNER_SFT:
        same = fmean(answer.same_instructions for answer in answers)
        return figures | {"eval/same_num_steps": accuracy, "eval/same_instructions": same}
    by_label = [[a.is_right for a in answers if a.is_success is label] for label in (True, False)]
    return figures | {
        "eval/verdict_accuracy": accuracy,
        "eval/verdict_balanced": fmean(fmean(rights) for rights in by_label if rights),
    }


def _agrees(said: Critique | Plan, truth: Critique | Plan) -> bool:
    if isinstance(said, Critique) and isinstance(truth, Critique):
        return said.is_success == truth.is_success
    assert isinstance(said, Plan)
    assert isinstance(truth, Plan)
    return len(said.steps) == len(truth.steps)


def _same_instructions(said: Critique | Plan, truth: Critique | Plan) -> float:
    if not isinstance(said, Plan) or not isinstance(truth, Plan):
        return 0.0
    pairs = zip(said.steps, truth.steps, strict=False)
    return sum(one.instruction == other.instruction for one, other in pairs) / len(truth.steps)


def _write(path: Path, answers: Sequence[EvaluatedAnswer]) -> None:
    lines = (
        json.dumps({"id": a.id, "text": a.text, "parse_error": a.parse_error, "is_right": a.is_right}) + "\n"
        for a in answers
    )
    atomic_write(path, "".join(lines))
