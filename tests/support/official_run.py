"""A benchmark's run on fakes: the real outputs, cache, ledger and figures, but nobody is asked and nothing is drawn.

As a program it is the run of a folder that can be killed: `python -m tests.support.official_run FOLDER`.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from actors.judge.openai_asker import OpenAIAsker
from actors.judge.question import Question
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.store.store import Store
from evals.official.ueval import BENCHMARK
from rl.official.config import agent_of, load_judge
from rl.official.outputs import OutputLog
from rl.official.prepare import Official, prepare_official
from rl.official.run import hand_in, outputs_of, score
from rl.run_dir.provenance import write_provenance
from rl.story.config import load_story_recipe
from rollout.story import Story
from rollout.types import Request
from tests.support.benchmark_data import parrot, write_ueval
from tests.support.storytelling import StorePainter, storyline

USD = 0.01
"""Price of an answer."""
MODEL = "parrot"
Called = Callable[[str], None]
"""Hears of each paid call; may raise."""


def prepared(folder: Path, *said: str, out: str = "out", limit: int = 0) -> Official:
    """Return UEval's run in a folder, where the data are written if they are not there."""
    data, checkout = folder / "data", folder / "checkout"
    if not data.exists():
        write_ueval(folder)
    stories = load_story_recipe("recipes/shapes_story.yaml", [f"store={folder / 'store'}"])
    recipe = agent_of(stories, "ueval", folder / out, is_alone=True)
    judge = load_judge(BENCHMARK, [f"model={MODEL}", "api_key_env=PATH", *said])
    return prepare_official(BENCHMARK, recipe, data, judge=judge, prompts=checkout, limit=limit)


def asker_of(run: Official, called: Called, *, budget_usd: float = 0.0, delay_s: float = 0.0) -> OpenAIAsker:
    """Return a parrot with a real cache, ledger and budget."""

    async def answer(question: Question) -> dict[str, object]:
        called(f"answer {question_name(question)}")
        await asyncio.sleep(delay_s)
        return {**parrot(question), "usd": USD}

    def make(is_continued: bool) -> MeteredCalls:
        usage = UsageLedger("judge", run.out / "ledger", budget=Budget(usd=budget_usd))
        return MeteredCalls(run.store, RetryPolicy(10, 1), Pooled(answer, 4, ["usd"]), usage)

    assert run.judge is not None
    return OpenAIAsker(run.judge.model, str(run.store.root), SharedCalls(make))


def question_name(question: Question) -> str:
    return repr((question.text, question.images, question.repeat))


async def carry_out(
    run: Official, called: Called, *, budget_usd: float = 0.0, delay_s: float = 0.0, console: Console | None = None
) -> None:
    """Do all that `run_official` does, but for starting actors."""
    line = storyline(generator=StorePainter(run.store))

    async def tell(request: Request) -> Story:
        called(f"story {request.id}")
        await asyncio.sleep(delay_s)
        return await line.tell(request)

    def say(what: str, done: int, of: int) -> None:
        pass

    console = console or Console(quiet=True)
    write_provenance(run.recipe, run.sources)
    outputs = await outputs_of(run, OutputLog(run.out), tell, say)
    hand_in(run, outputs)
    asker = asker_of(run, called, budget_usd=budget_usd, delay_s=delay_s)
    await score(run, outputs, asker, console, say=say)


def committed(run: Official, calls: list[str]) -> set[str]:
    """Return those of the calls whose results are on disk."""
    there = OutputLog(run.out).read(Store(run.store.root))
    stories = {f"story {name}" for name, output in there.items() if output.error is None}
    answered: set[str] = set()
    for file in (run.store.root / "calls").rglob("*.json"):
        entry = run.store.get_call(file.stem)
        if entry is not None and entry["request"].get("service") == "judge":
            answered.add(entry["request"]["question"] + str(entry["request"]["repeat"]))
    return {call for call in calls if call in stories or _of_answer(call) in answered}


def _of_answer(call: str) -> str | None:
    kind, _, name = call.partition(" ")
    if kind != "answer":
        return None
    text, _, repeat = eval(name)
    return str(text) + str(repeat)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with (folder / "calls.txt").open("a", buffering=1, encoding="utf-8") as log:
        asyncio.run(carry_out(prepared(folder), lambda call: print(repr(call), file=log), delay_s=0.02))
