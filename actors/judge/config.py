"""Settings of a judge: a function, a model behind endpoints or on GPUs of the run, or several of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le

from actors.judge.registry import KINDS
from actors.judge.settings import check_budget, check_members, check_rubric
from actors.metered.config import EndpointConfig
from rewards.aggregate import COMBINATIONS
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
    one_of,
    one_of_or_own,
)

VLLM_DTYPES = ("auto", "float32", "bfloat16", "float16", "float", "half")
"""What `vllm serve --dtype` takes."""


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
    """Further arguments of `vllm serve`: {gpu_memory_utilization: 0.4}; null takes one of ours out."""
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
    """openai: ask each endpoint one question before anything starts, so that a wrong key, model or address is said in
    seconds; it counts against no budget. An ensemble's: its members'."""

    def __post_init__(self) -> None:
        check_fields(self, "judge")
        check_rubric(self)
        check_members(self)
        check_budget(self)
