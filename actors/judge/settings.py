"""What of a judge's settings fits together (`actors.judge.config.JudgeConfig`), and the members of an ensemble."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.judge.registry import kind_of

if TYPE_CHECKING:
    from actors.judge.config import JudgeConfig
    from actors.metered.config import EndpointConfig

_PRICES = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")
_PER_MEMBER = ("repeats", "rubric", "budget_calls", "budget_usd", *_PRICES)


GONE = {
    "min_members": "every member of an ensemble has to answer, or the sample fails: samples of one group would be "
    "scored by different judges else, and a failure would move their scores; leave the key out"
}
"""Keys that a judge's section had once, and why it has them no more."""


def check_rubric(config: JudgeConfig) -> None:
    """Raise ValueError unless the rubric, its repeats and further options suit the kind of judge."""
    kind = kind_of(config)
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


def check_budget(config: JudgeConfig) -> None:
    """Raise ValueError for a budget or a price that would do nothing."""
    kind, prices = kind_of(config), {name: getattr(config, name) for name in _PRICES}
    if kind.has_members:  # check_members says whose they are
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


def check_members(config: JudgeConfig) -> None:
    """Raise ValueError unless an ensemble's members are judges that fit together."""
    if not kind_of(config).has_members:
        if config.members:
            raise ValueError(f"judge.members are given, but judge.kind={config.kind!r}: make it ensemble")
        return
    if len(config.members) < 2:
        raise ValueError(f"judge.members has {len(config.members)} judges; an ensemble needs at least 2")
    defaults = {field.name: field.default for field in fields(config)}
    changed = [name for name in _PER_MEMBER if getattr(config, name) != defaults[name]]
    if changed:
        raise ValueError(f"judge.{changed[0]} is a member's own in an ensemble: set it in judge.members")
    member_configs(config)


def member_configs(config: JudgeConfig) -> list[JudgeConfig]:
    """Return an ensemble's members as checked settings. Raises ValueError with the member's place."""
    return [_member(number, dict(settings)) for number, settings in enumerate(config.members)]


def member_names(config: JudgeConfig) -> list[str]:
    """Return a short name for each member of an ensemble: its model or scorer, numbered."""
    names = [Path(member.model or member.scorer or member.kind).name for member in member_configs(config)]
    return [f"{number}-{name}" for number, name in enumerate(names)]


def _member(number: int, settings: dict[str, Any]) -> JudgeConfig:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

    from actors.judge.config import JudgeConfig

    where = f"judge.members.{number}"
    known = [field.name for field in fields(JudgeConfig)]
    for name in settings:
        if name in GONE:
            raise ValueError(f"{where}: {name} is no setting any more: {GONE[name]}")
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(f"{where}: unknown key {name}{hint}")
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
