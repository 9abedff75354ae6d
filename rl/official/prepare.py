"""Everything about a benchmark's run that can be wrong, checked before anything starts, and what it will cost."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.judge.config import JudgeConfig
from actors.judge.judge import kind_of
from actors.metered.config import EndpointConfig
from actors.store.append_log import log_paths, read_log
from actors.store.ledger import CALLS
from actors.store.store import Store
from evals.official.benchmark import Benchmark, Form, Item
from rl.official.config import OfficialRecipe, is_resumable_change
from rl.run_dir.resume import check_changes
from rl.story.run import PreparedStory, prepare_story
from rl.writable import check_store
from rollout.roles import BudgetSpent

CHARS_PER_TOKEN = 4
TOKENS_PER_IMAGE, IMAGES_PER_STORY = 1000, 6
NO_MORE = 1e-9
"""US dollars: a budget that any call has spent; 0 would be none."""
TOKENS_PER_ANSWER, TOKENS_PER_LONG_ANSWER = 300, 4096
"""What an estimate takes for granted; a model that thinks before it answers uses more."""


@dataclass(frozen=True)
class Official:
    """A run of a benchmark, checked."""

    benchmark: Benchmark
    items: Sequence[Item]
    num_items: int
    """Of the whole benchmark."""
    agent: PreparedStory
    judge: JudgeConfig | None
    """None: outputs are made and handed in, not scored."""
    prompts: Mapping[str, str]
    sources: dict[str, dict[str, str]]
    max_failure_share: float = 0.5
    """Of outputs, and of the judge's answers, that ends the run."""

    @property
    def recipe(self) -> OfficialRecipe:
        assert isinstance(self.agent.recipe, OfficialRecipe)
        return self.agent.recipe

    @property
    def out(self) -> Path:
        return Path(self.recipe.run_dir)

    @property
    def store(self) -> Store:
        return Store(self.recipe.store)


def prepare_official(
    benchmark: Benchmark,
    recipe: OfficialRecipe,
    data: Path,
    *,
    judge: JudgeConfig | None,
    prompts: Path | None,
    limit: int = 0,
    accepted: Collection[str] = (),
) -> Official:
    """Check a run. Raises ValueError that says what is wrong or missing, and where to get it.

    `accepted` names keys in which it may differ from what made the outputs that are there.
    """
    if not data.is_dir():
        raise ValueError(f"--data {data}: there is no such folder")
    if judge is not None and prompts is None:
        raise ValueError(
            f"scoring reads the judge's prompts from a checkout: {_clone(benchmark)} "
            "and give its folder as --prompts, or give --submit-only"
        )
    check_store(recipe.store)  # the images of the benchmark go there
    every = read_items(benchmark, data, Store(recipe.store))
    if twice := len(every) - len({item.id for item in every}):
        raise ValueError(f"--data {data}: {twice} of {len(every)} items of {benchmark.title} have another one's id")
    if not every:
        raise ValueError(f"--data {data} holds no item of {benchmark.title}")
    items = spread(every, limit)
    agent = prepare_story(recipe, befores={item.images[0] if item.images else None for item in items})
    if judge is not None:
        kind_of(judge).check(judge, "--judge")
    texts = {} if judge is None or prompts is None else read_prompts(benchmark, prompts)
    sources = {"data": {"items": _digest(every, data)}}
    out = Path(recipe.run_dir)
    if log_paths(out / "outputs", "outputs"):
        try:
            check_changes(recipe, sources, accepted, is_resumable_change)
        except ValueError as error:
            raise ValueError(str(error).replace("another run_dir", "another --out")) from None
    return Official(benchmark, items, len(every), agent, judge, texts, sources)


def read_items(benchmark: Benchmark, data: Path, store: Store) -> Sequence[Item]:
    """Return a benchmark's items. Raises ValueError, also for rows of another form than the published one."""
    try:
        return benchmark.read(data, store)
    except (AttributeError, KeyError, TypeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise ValueError(f"--data {data} is not in the form of {benchmark.title}'s data ({told})") from error


def read_prompts(benchmark: Benchmark, checkout: Path) -> Mapping[str, str]:
    """Return a benchmark's judge prompts. Raises ValueError that says what to get where they are not there."""
    try:
        return benchmark.prompts(checkout)
    except ValueError as error:
        raise ValueError(f"{error}; {_clone(benchmark)}") from None


def _clone(benchmark: Benchmark) -> str:
    owner, _, commit = benchmark.repository.partition("@")
    return f"git clone https://github.com/{owner} (as of {commit})"


def spread(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """Return at most `limit` items, evenly from first to last, so that each group keeps its share; 0: all."""
    if not limit or limit >= len(items):
        return items
    return [items[number * len(items) // limit] for number in range(limit)]


def paid(out: Path) -> dict[str, float]:
    """Return the US dollars that a folder's ledger says were paid, by service."""
    usd: dict[str, float] = {}
    for row in read_log(out / "ledger", CALLS):
        usd[row["service"]] = usd.get(row["service"], 0.0) + row["counted"].get("usd", 0.0)
    return usd


def left_of(budget_usd: float, out: Path, service: str, call_usd: float) -> float:
    """Return what a service's own budget has to be for `budget_usd` to hold over all services of a folder.

    A service sends calls while it is below its budget, so the last one, of at most `call_usd`, is taken off. One that
    has spent it still answers what was asked before. Raises `BudgetSpent` where not even a first call fits.
    """
    usd = paid(out)
    left = budget_usd - call_usd - sum(amount for name, amount in usd.items() if name != service)
    if left <= 0 and not usd.get(service):
        raise BudgetSpent(f"a call of {service} may cost {call_usd:.2g} US dollars")
    return max(left, NO_MORE)


def dearest_call(run: Official) -> float:
    """Return what a question to the judge may cost, in US dollars: a long one, with the longest answer allowed."""
    assert run.judge is not None
    tokens_in, tokens_out = 2 * _tokens_in(run), run.judge.call.get("max_tokens") or TOKENS_PER_LONG_ANSWER
    return (tokens_in * _prices(run.judge)[0] + tokens_out * _prices(run.judge)[1]) / 1e6


def estimate(run: Official) -> list[str]:
    """Return what a whole run comes to, in lines: what was paid for before is not taken off."""
    generator = run.agent.generator
    lines = [f"{len(run.items):,} of {run.num_items:,} items of {run.benchmark.title}"]
    if generator.usd_per_image:
        lines.append(f"images: at least {len(run.items):,}, {len(run.items) * generator.usd_per_image:.2f} US dollars")
    if run.judge is None:
        return lines
    num_asked = sum(run.benchmark.num_questions(item) for item in run.items)
    tokens_in = _tokens_in(run)
    told = f"{num_asked:,} questions to {run.judge.model} of about {tokens_in:,} + {TOKENS_PER_ANSWER} tokens"
    prices = _prices(run.judge)
    usd = num_asked * (tokens_in * prices[0] + TOKENS_PER_ANSWER * prices[1]) / 1e6
    return [*lines, f"{told}: {f'about {usd:.2f} US dollars' if any(prices) else 'no price is set'}"]


def _tokens_in(run: Official) -> int:
    chars = max((len(text) for text in run.prompts.values()), default=0)
    num_made = IMAGES_PER_STORY if run.benchmark.form is Form.STORY else 1
    num_images = num_made + max(len(item.images) for item in run.items)
    return chars // CHARS_PER_TOKEN + TOKENS_PER_IMAGE * num_images


def _prices(judge: JudgeConfig) -> tuple[float, float]:
    """Return the dearest prices of a judge's endpoints, in US dollars a million tokens in and out."""
    sellers: Sequence[EndpointConfig | JudgeConfig] = judge.endpoints or [judge]
    return (
        max(one.usd_per_million_input_tokens for one in sellers),
        max(one.usd_per_million_output_tokens for one in sellers),
    )


def _digest(items: Sequence[Item], data: Path) -> str:
    """Return a digest of what is asked, wherever the data lie."""
    whole = hashlib.sha256()
    for item in items:
        said = repr((item.id, item.group, item.request, sorted(item.row.items(), key=str)))
        whole.update(said.replace(str(data.absolute()), "").encode())
    return whole.hexdigest()[:16]
