"""Settings of a judge: a function, a model behind endpoints or on GPUs of the run, or several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from actors.judge.registry import KINDS, traits_of
from actors.metered.config import EndpointConfig
from rewards.judging.aggregate import COMBINATIONS
from rollout.text.limits import (
    Cpus,
    Gpus,
    KeyVariable,
    Like,
    NonNegativeFloat,
    NonNegativeInt,
    PathText,
    Port,
    PositiveInt,
    RequiredPath,
    Seconds,
    Tilde,
    Url,
    check_fields,
    nearest,
    one_of,
    one_of_or_own,
)

VLLM_DTYPES = ("auto", "float32", "bfloat16", "float16", "float", "half")
"""What `vllm serve --dtype` takes."""
GONE = {
    "min_members": "every member of an ensemble has to answer, or the sample fails: samples of one group would be "
    "scored by different judges else, and a failure would move their scores; leave the key out"
}
"""Keys that a judge's section had once, and why it has them no more."""
_PRICES = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
_PER_MEMBER = ("repeats", "rubric", "budget_calls", "budget_usd", *_PRICES)


@dataclass(frozen=True)
class ServerConfig:
    """vLLM servers that the run starts for a judge of its own (`judge.kind: vllm`) and stops at its end."""

    gpus: Gpus = 1
    """GPUs of one server: a whole number is its tensor parallelism, a share is for a card with others on it; 0: CPU."""
    cpus: Cpus = 1
    """Ray's logical CPUs of one server."""
    port: Port = 0
    """Port of the first server, the others' follow; 0: free ones."""
    dtype: Annotated[str, one_of(*VLLM_DTYPES)] = "auto"
    """float32 on CPU."""
    max_model_len: PositiveInt = 8192
    """Tokens of a question, its images included, and its answer."""
    args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `vllm serve`: {gpu_memory_utilization: 0.4}; null removes a default."""
    start_timeout_s: Seconds = 1800.0
    """Until a server is ready: its weights may have to be downloaded."""

    def __post_init__(self) -> None:
        check_fields(self, "judge.server")


@dataclass(frozen=True)
class JudgeConfig:
    """Who scores images: a function, a model at an endpoint or on GPUs of the run, or several of them."""

    kind: Annotated[str, Tilde(), one_of_or_own(*KINDS)] = "embedded"
    """embedded, openai, vllm or ensemble, or a class of your own: my_module:MyJudge or ./my_file.py:MyJudge."""
    options: dict[str, Any] = field(default_factory=dict)
    """A class of your own: its keyword arguments."""
    rubric: Annotated[str, one_of("scores", "checklist")] = "scores"
    """openai, vllm: scores (0 to 10 by the rubric files) or checklist (questions answered yes or no)."""
    repeats: PositiveInt = 1
    """openai, vllm: independent answers to each question, averaged; more than one needs call.temperature above 0."""
    max_questions: PositiveInt = 8
    """checklist: most questions of one instruction."""
    members: list[Annotated[dict[str, Any], Like("actors.judge.config.JudgeConfig")]] = field(default_factory=list)
    """ensemble: judges, each with the keys of this section."""
    combine: Annotated[str, one_of(*COMBINATIONS)] = "mean"
    """ensemble: mean, median or min of the members' scores, for each dimension."""
    server: ServerConfig = field(default_factory=ServerConfig)
    """vllm: the servers, num_replicas of them."""
    scorer: PathText = ""
    """embedded: `score(before, after, instruction) -> Scores`, by import path or in a file (`./mine.py:score`)."""
    model: PathText = ""
    """openai: model name at the endpoint; vllm: folder or hub id of a vision-language model."""
    base_url: Url | None = None
    """openai: None is the official endpoint."""
    api_key_env: KeyVariable = "OPENAI_API_KEY"
    """openai: environment variable that holds the key."""
    usd_per_million_input_tokens: NonNegativeFloat = 0.0
    """openai: what base_url charges; endpoints have prices of their own."""
    usd_per_million_output_tokens: NonNegativeFloat = 0.0
    endpoints: list[EndpointConfig] = field(default_factory=list)
    """openai: several servers or keys, shared by load, one standing in for another; empty: the keys beside base_url."""
    structured_output: bool = True
    """openai: send the answer's JSON schema; an endpoint that refuses it is asked without. Parsing is strict anyhow."""
    hedge_after_s: Annotated[float, Ge(0), Le(1e9)] = 0.0
    """openai: send a straggler a second time after so long, the first answer wins; 0: never."""
    budget_calls: NonNegativeInt = 0
    """Requests that the run may send, resumed or not; 0: no limit. Needs an owner: num_replicas above 0."""
    budget_usd: NonNegativeFloat = 0.0
    """openai: US dollars by the prices, which every endpoint needs; calls in flight may end beyond it; 0: no limit."""
    max_reasoning_chars: NonNegativeInt = 0
    """Bound on a text in the answer's JSON schema, where the server knows such bounds (vllm, SGLang); 0: none."""
    semantics_rubric: RequiredPath = "recipes/prompts/judge_semantics.txt"
    quality_rubric: RequiredPath = "recipes/prompts/judge_quality.txt"
    semantics_pair_rubric: RequiredPath = "recipes/prompts/judge_semantics_pair.txt"
    """scores: for two attempts side by side (rollout.baseline=side_by_side)."""
    quality_pair_rubric: RequiredPath = "recipes/prompts/judge_quality_pair.txt"
    questions_prompt: RequiredPath = "recipes/prompts/judge_checklist_questions.txt"
    """checklist: asks for an instruction's questions; sees no image."""
    answers_prompt: RequiredPath = "recipes/prompts/judge_checklist_answers.txt"
    call: dict[str, Any] = field(default_factory=dict)
    """openai: keyword arguments of the chat call, over temperature=0 and max_tokens=1024; null drops one."""
    num_replicas: NonNegativeInt = 1
    """0: in the caller's process, without Ray; cheapest where scoring is."""
    cpus_per_replica: Cpus = 0.1
    """Ray's logical CPUs."""
    gpus_per_replica: Gpus = 0
    """embedded, or a class of your own."""
    max_concurrency: PositiveInt = 32
    """Calls in flight in one replica, or (openai) at one endpoint."""
    timeout_s: Seconds = 120.0
    """Deadline of one call, its retries included; waiting for a free place does not count."""
    num_attempts: PositiveInt = 4
    probe: bool = True
    """Ask one question before anything starts: each endpoint, so that a wrong key, model or address is said in seconds
    (it counts against no budget); a scorer or a class of your own about some records. An ensemble's: its members'."""

    def __post_init__(self) -> None:
        check_fields(self, "judge")
        _check_rubric(self)
        _check_members(self)
        _check_budget(self)

    @cached_property
    def member_configs(self) -> list[JudgeConfig]:
        """An ensemble's members as checked settings. Raises ValueError with the member's place."""
        return [_member(number, dict(settings)) for number, settings in enumerate(self.members)]


def _check_rubric(config: JudgeConfig) -> None:
    """Raise ValueError unless the rubric, its repeats and further options suit the kind of judge."""
    kind = traits_of(config.kind)
    if config.options and not kind.has_options:
        raise ValueError(f"judge.options are for a judge of your own; judge.kind={config.kind!r} takes none")
    if not (kind.is_asked or kind.has_members) and (config.rubric == "checklist" or config.repeats > 1):
        raise ValueError(
            "judge.rubric=checklist and judge.repeats are for judges that are asked (openai, vllm): an embedded "
            "scorer gives the same scores each time"
        )
    if kind.is_asked and config.repeats > 1:
        temperature = config.call.get("temperature", 0)
        if temperature is not None and temperature <= 0:
            raise ValueError(
                f"judge.repeats={config.repeats} at temperature {temperature} would be the same answer paid for "
                f"{config.repeats} times: set judge.call.temperature, to 0.7 for example"
            )


def _check_budget(config: JudgeConfig) -> None:
    """Raise ValueError for a budget or a price that would do nothing."""
    kind, prices = traits_of(config.kind), {name: getattr(config, name) for name in _PRICES}
    if kind.has_members:  # _check_members says whose they are
        return
    if any(prices.values()) and (not kind.has_prices or config.endpoints):
        raise ValueError(
            "judge.usd_per_million_... are the prices of judge.kind=openai at its base_url; endpoints have their own: "
            "set them in judge.endpoints"
        )
    if (config.budget_calls or config.budget_usd) and config.num_replicas == 0:
        raise ValueError(
            "a judge's budget holds for the run only where one process counts for all: set judge.num_replicas to 1 "
            "or more"
        )
    if config.budget_usd and not kind.has_prices:
        raise ValueError(f"judge.kind={config.kind!r} costs no US dollars: give it budget_calls, not budget_usd")
    sellers: Sequence[EndpointConfig | JudgeConfig] = config.endpoints or [config]
    free = [number for number, one in enumerate(sellers) if not any(getattr(one, name) for name in _PRICES)]
    if config.budget_usd and free:
        where = f"judge.endpoints.{free[0]}" if config.endpoints else "judge"
        raise ValueError(
            f"judge.budget_usd={config.budget_usd:g} needs the price of every endpoint: set "
            f"{where}.{_PRICES[0]} and {where}.{_PRICES[1]}"
        )


def _check_members(config: JudgeConfig) -> None:
    """Raise ValueError unless an ensemble's members are judges that fit together."""
    if not traits_of(config.kind).has_members:
        if config.members:
            raise ValueError(f"judge.members are given, but judge.kind={config.kind!r}: make it ensemble")
        return
    if len(config.members) < 2:
        raise ValueError(f"judge.members has {len(config.members)} judges; an ensemble needs at least 2")
    defaults = {field.name: field.default for field in fields(config)}
    changed = [name for name in _PER_MEMBER if getattr(config, name) != defaults[name]]
    if changed:
        raise ValueError(f"judge.{changed[0]} is a member's own in an ensemble: set it in judge.members")
    _ = config.member_configs  # each is checked as it is made


def member_names(config: JudgeConfig) -> list[str]:
    """Return a short name for each member of an ensemble: its model or scorer, numbered."""
    names = [Path(member.model or member.scorer or member.kind).name for member in config.member_configs]
    return [f"{number}-{name}" for number, name in enumerate(names)]


def _member(number: int, settings: dict[str, Any]) -> JudgeConfig:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    where = f"judge.members.{number}"
    known = [field.name for field in fields(JudgeConfig)]
    for name in settings:
        if name in GONE:
            raise ValueError(f"{where}: {name} is no setting any more: {GONE[name]}")
        if name not in known:
            raise ValueError(f"{where}: unknown key {name}{nearest(str(name), known)}")
    schema = OmegaConf.structured(JudgeConfig)
    nodes = [schema]
    while nodes:  # OmegaConf makes frozen dataclasses read-only, each node by itself
        node = nodes.pop()
        OmegaConf.set_readonly(node, False)
        nodes += [value for _, value in node.items_ex(resolve=False) if isinstance(value, DictConfig)]
    try:
        member = OmegaConf.to_object(OmegaConf.merge(schema, settings))
    except ConfigKeyError as error:
        raise ValueError(f"{where}: unknown key {error.full_key}") from None
    except (OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from None
    assert isinstance(member, JudgeConfig)
    return member
