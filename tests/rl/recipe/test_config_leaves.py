"""Every leaf of every recipe, with wrong values: each is refused in one line that names its key, or is legal here."""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml

from actors.config import POLICY_LOSSES
from rl.data_build.config import BuildRecipe
from rl.recipe.coerce import Fitting
from rl.recipe.config import ADVANTAGES, REPO, Recipe
from rl.recipe.reader import load_as
from rl.recipe.sft_config import SftRecipe
from rl.serve import ServeRecipe
from rl.story.config import StoryRecipe
from rollout.text.limits import check_value, hints_of, parts_of

RECIPES = {
    "grpo": (Recipe, "critic_grpo.yaml"),  # of several seeds, too: `interleave learning`
    "sft": (SftRecipe, "critic_sft.yaml"),
    "story": (StoryRecipe, "story.yaml"),
    "serve": (ServeRecipe, "serve.yaml"),
    "build": (BuildRecipe, "build_data.yaml"),
}
SERVE = "generator: {name: flux2-klein}\n"
MORE: dict[str, dict[str, Any]] = {
    "grpo": {
        "evidence": {"looks": {"judge": {"kind": "openai", "model": "m", "endpoints": [{}]}}, "fn": {"fn": "a.b"}},
        "judge": {"endpoints": [{}]},
        "generator": {"endpoints": [{}]},
    },
    "story": {"judge": {"endpoints": [{}]}},
}

LEGAL: dict[str, dict[str, str]] = {
    "-1": {
        "seed": "seeds are hashed",
        "weight": "a penalty",
        "entropy_coef": "below 0 it lowers entropy",
    },
    "0": {
        "seed": "a seed like any other",
        "weight": "measured and not learned from",
        "lr": "a rehearsal: everything runs and nothing is learned",
        **dict.fromkeys(("clip_low", "clip_high", "kl_coef", "entropy_coef", "weight_decay"), "off"),
        "betas": "no momentum",
        **dict.fromkeys(("warmup_steps", "warmup_share", "num_warmup_steps"), "no warm-up"),
        **dict.fromkeys(("every", "save_every"), "only at the end"),
        **dict.fromkeys(("rank", "adapter_rank", "max_staleness", "max_refills", "first_complete"), "off"),
        **dict.fromkeys(("num_replicas", "gpus_per_rank", "gpus_per_replica", "gpus_per_sampler", "gpus"), "none"),
        **dict.fromkeys(("cpus", "cpus_per_replica", "cpus_per_worker"), "takes none of Ray's logical CPUs"),
        **dict.fromkeys(("min_replicas", "max_replicas", "max_batch_size", "height", "width"), "as it is elsewhere"),
        **dict.fromkeys(("min_valid",), "half of n"),
        **dict.fromkeys(("success_share", "failed_share", "rl_share", "max_failure_share"), "none"),
        **dict.fromkeys(("max_retried", "min_refined", "max_refined"), "a share"),
        **dict.fromkeys(("temperature",), "greedy"),
        **dict.fromkeys(("semantics", "quality"), "every image succeeds"),
        **dict.fromkeys(("limit",), "off; all"),
        "threshold": "off: the majority of verdicts decides",
        **dict.fromkeys(("max_spread", "min_gain"), "none at all"),
        **dict.fromkeys(("batch_wait_s", "hedge_after_s"), "never waits"),
        **dict.fromkeys(("num_tasks", "num_tasks_during", "num_losses", "num_train", "num_heldout"), "all"),
        **dict.fromkeys(("num_steps",), "SFT: as many as num_epochs takes"),
        **dict.fromkeys(
            ("num_answers", "num_references", "num_measured", "num_retries", "num_refinements", "max_images"), "none"
        ),
        **dict.fromkeys(("per_request", "per_prompt", "store_limit_gib", "max_batch_pixels"), "no limit"),
        **dict.fromkeys(("budget_calls", "budget_usd", "max_reasoning_chars"), "no limit"),
        **dict.fromkeys(("requests_per_minute", "tokens_per_minute"), "no limit"),
        **dict.fromkeys(("usd_per_image", "usd_per_million_input_tokens", "usd_per_million_output_tokens"), "free"),
        **dict.fromkeys(("port", "prometheus_port"), "a free one"),
        **dict.fromkeys(("num_images",), "never so many"),
        **dict.fromkeys(("shard_ranks",), "all ranks"),
        **dict.fromkeys(("kept_activations", "cache_gib"), "none"),
        **dict.fromkeys(("max_concurrency",), "of an endpoint: as the judge says"),
    },
    "": {
        "fn": "asked for where it is needed",
        "kind": "of a generator or teacher: as its other keys say",
        **dict.fromkeys(("scorer", "model", "side"), "not given; asked for where it is needed"),
        **dict.fromkeys(("name",), "of a generator: named by its pipeline; of a term: its function's"),
        **dict.fromkeys(("pipeline", "custom_pipeline", "lora", "lora_weights"), "the entry's, or none"),
        **dict.fromkeys(("base_url", "api_key_env"), "the entry's, or none"),
        **dict.fromkeys(("image_prefix", "image_root", "white_canvas"), "none"),
        **dict.fromkeys(("attention_backend", "command"), "the pipeline's own back-end; no server"),
        **dict.fromkeys(("guidance_prompt",), "the other prompt is for all"),
        **dict.fromkeys(("ray_address",), "Ray is started here"),
        **dict.fromkeys(("project",), "as WANDB_PROJECT says"),
        **dict.fromkeys(("best",), "the last step's weights"),
        **dict.fromkeys(("keep_best",), "none is kept for its figure"),
        **dict.fromkeys(("data", "prompts"), "of a benchmark beside training: there is none"),
    },
}
"""Wrong value -> last name of a key -> why it may be so. A field that is not named here refuses it."""


def leaves(kind: Any, value: Any, key: str = "") -> list[tuple[str, Any, bool]]:
    """Return the leaves of a recipe with their types and whether they may be null."""
    found = []
    for name, hint in hints_of(kind).items():
        path = f"{key}.{name}".lstrip(".")
        inner, _, is_optional = parts_of(hint)
        said = value.get(name) if isinstance(value, dict) else getattr(value, name)
        if dataclasses.is_dataclass(inner):
            found += leaves(inner, said, path) if said is not None else []
        elif get_origin(inner) in (list, tuple, dict):
            found.append((path, inner, is_optional))
            item = get_args(inner)[-1]
            pairs = said.items() if isinstance(said, dict) else enumerate(said or ())
            for place, one in pairs:
                if dataclasses.is_dataclass(parts_of(item)[0]):
                    found += leaves(parts_of(item)[0], one, f"{path}.{place}")
                elif not isinstance(one, dict | list) and parts_of(item)[0] is not Any:
                    found.append((f"{path}.{place}", *parts_of(item)[::2]))
        else:
            found.append((path, inner, is_optional))
    return found


def wrong_values(kind: Any, is_optional: bool) -> list[tuple[str, str]]:
    """Return wrong values for a type: a word for each, and how it is typed on the command line."""
    if get_origin(kind) in (list, tuple):
        return [("a word", "word"), ("a number", "3"), ("a mapping", "{a: 1}"), ("null", "null")]
    if get_origin(kind) is dict:
        return [("a word", "word"), ("a number", "3"), ("a list", "[1]"), ("null", "null")]
    if kind is bool:
        return [("a word", "word"), ("a number", "3"), ("nan", ".nan"), ("a list", "[1]"), ("empty", "''")]
    if kind in (int, float):
        null = [] if is_optional else [("null", "null")]
        numbers = [("nan", ".nan"), ("nan", "nan"), ("inf", ".inf"), ("-inf", "-.inf"), ("-1", "-1"), ("0", "0")]
        huge = [("huge", "1" + "0" * 30)]
        types = [("a word", "word"), ("true", "true"), ("a list", "[1]"), ("a mapping", "{a: 1}"), ("empty", "''")]
        return [*numbers, *huge, *types, *null, *([("a share", "1.5")] if kind is int else [])]
    texts = [("unfit", "no-such-choice"), ("control", "a\x00b"), ("half", "a\udcff")]
    return [*texts, ("", "''"), ("secret", "${oc.env:HOME}")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "serve.yaml").write_text(SERVE)
    paths = {}
    for name, (_, file) in RECIPES.items():
        base = folder / file if name == "serve" else REPO / "recipes" / file
        paths[name] = folder / f"{name}-with-all.yaml"
        paths[name].write_text(yaml.safe_dump({"extends": str(base), "name": "it", **MORE.get(name, {})}))
    return paths


def why_refused(kind: type, file: Path, key: str, typed: str, *, is_whole: bool) -> str:
    """Return what is said against a value, or nothing; whole: by reading the recipe, else by its leaf's own check."""
    try:
        fit = Fitting(kind, "command line")
        check_value(fit.parse(typed, key), fit.hint_at(key), key)
        if is_whole:
            load_as(kind, file, [f"{key}={typed}"])
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", RECIPES)
def test_a_wrong_leaf_is_refused_in_one_line_that_names_it_or_is_legal(name, files):
    kind, _ = RECIPES[name]
    wrong = []
    for key, leaf, is_optional in leaves(kind, load_as(kind, files[name])):
        last = next(part for part in reversed(key.split(".")) if not part.isdigit())
        for word, typed in wrong_values(leaf, is_optional):
            is_legal = last in LEGAL.get(word, {}) or (word == "unfit" and not has_choices(kind, key))
            message = why_refused(kind, files[name], key, typed, is_whole=not is_legal)
            is_ours = not any(raw in message for raw in ("\n", "full_key", "Merge error", "could not be converted"))
            if not is_ours or (not is_legal and key not in message):
                wrong.append(f"{key}={typed!r}: {message or 'it is taken'}")
    assert wrong == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.dtype=bf16", "policy.dtype is 'bf16'; expected float32 or bfloat16; did you mean bfloat16?"),
        ("policy.lr=nan", "policy.lr is nan; expected a number from 0 to 1"),
        ("policy.lr=.inf", "policy.lr is inf; expected a number from 0 to 1"),
        ("policy.betas=[0.9, 1]", "policy.betas.1 is 1.0; expected a number, 0 or more and below 1"),
        ("policy.betas=[0.9]", "command line: policy.betas has 1 items; expected a list of 2 items, like [0.9, 0.9]"),
        ("policy.num_ranks=0", "policy.num_ranks is 0; expected a whole number, 1 or more"),
        ("policy.num_ranks=2.5", "command line: policy.num_ranks is 2.5; expected a whole number"),
        ("policy.num_ranks=true", "command line: policy.num_ranks is true; expected a whole number"),
        (
            "policy.num_ranks=99999999999",
            "policy.num_ranks is 99999999999; expected a whole number from 1 to 21",
        ),
        ("policy.is_packed=perhaps", "command line: policy.is_packed is 'perhaps'; expected true or false"),
        (
            "policy.attn_implementation=flash",
            "policy.attn_implementation is 'flash'; expected one of sdpa, flash_attention_2, flash_attention_3, eager",
        ),
        ("policy=3", "command line: policy is 3; expected settings like {model: ...}"),
        ("policy=null", "command line: policy is empty (null); expected settings like {model: ...}"),
        ("tracking.backends=wandb", "command line: tracking.backends is 'wandb'; expected a list, like [name, ...]"),
        (
            "judge.base_url=localhost:8000",
            "judge.base_url is 'localhost:8000'; expected a URL like http://host:8000/v1",
        ),
        ("generator.call=3", "command line: generator.call is 3; expected a mapping, like {key: value}"),
        ("generator.call={guidance_scale: .nan}", "generator.call.guidance_scale is nan; expected a finite number"),
        (
            "generator.gpus_per_replica=1.5",
            "generator.gpus_per_replica is 1.5; expected a whole number of GPUs, a",
        ),
        ("rollout.max_tokens=8192", "rollout.max_tokens is 8192; expected less than samplers.max_model_len=8192"),
        ("policy.gpus_per_rank=0", "flash_attention_2, which needs a GPU, but policy.gpus_per_rank is 0"),
        ("samplers.max_num_seqs=20000", "samplers.max_num_batched_tokens=16384: each running sequence takes a token"),
        ("name=''", "name is ''; expected a name"),
        ("name=..", "name is '..'; expected a name for a folder"),
        ("algorithm.advantage=grop", "expected one of grpo, gdpo"),
        (
            "judge={kind: ensemble, members: [{scorer: a.b, repeats: 0}, {scorer: a.b}]}",
            "judge.members.0.repeats is 0",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(override, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_as(Recipe, REPO / "recipes" / "critic_grpo.yaml", [override])


def test_a_variable_that_may_be_the_key_itself_is_not_shown():
    with pytest.raises(ValueError, match=r"judge\.api_key_env is not right; expected the name of an env") as raised:
        load_as(Recipe, REPO / "recipes" / "critic_grpo.yaml", ["judge.api_key_env=sk-1234"])
    assert "1234" not in str(raised.value)


def test_the_names_are_those_that_verl_has_registered():
    from verl.trainer.ppo import core_algos

    assert set(ADVANTAGES) == {str(getattr(name, "value", name)) for name in core_algos.ADV_ESTIMATOR_REGISTRY}
    # A loss of the user's own is registered by its path, as other tests of this process do.
    assert set(POLICY_LOSSES) == {name for name in core_algos.POLICY_LOSS_REGISTRY if ":" not in name}


def has_choices(kind: type, key: str) -> bool:
    """Whether a field has closed choices; any other text may be right."""
    _, rules, _ = parts_of(Fitting(kind, "").hint_at(key))
    return any(getattr(rule, "choices", ()) for rule in rules)
