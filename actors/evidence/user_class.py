"""kind: my_module:MyObserver, a user-defined class (`actors.user_classes.roles.UserObserver`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from actors.evidence.config import EvidenceConfig
from actors.evidence.kind import EvidenceKind
from actors.run_context import RunContext
from actors.user_classes.classes import UserClass, call
from actors.user_classes.trial import Code, code_of_class, make_replica
from rewards.functions.evidence_loader import as_json
from rollout.roles import EvidenceProvider
from rollout.text.foreign import error_text
from rollout.types import ScoreRequest

if TYPE_CHECKING:
    from actors.store.store import Store


class OwnEvidence(EvidenceKind):
    """The class that `kind` names, made with `options`."""

    unused = frozenset({"fn", "judge"})

    def check(self, name: str, config: EvidenceConfig) -> None:
        _class(config, f"evidence.{name}.kind").make()

    def describe(self, config: EvidenceConfig) -> dict[str, str]:
        return {"class": _class(config).identity}

    async def start(self, config: EvidenceConfig, context: RunContext) -> EvidenceProvider:
        from actors.evidence.look import FunctionObserver, start_calls
        from actors.metered.retry import RetryPolicy

        own = _class(config).anchored()
        make = partial(make_replica, own, _answer, context.root)
        policy = RetryPolicy(config.timeout_s, NUM_ATTEMPTS)
        owner = await start_calls(config, context, make, policy, config.max_concurrency)
        return FunctionObserver(own.identity, context.root, owner)

    def code_of(self, config: EvidenceConfig) -> Code:
        return code_of_class(_class(config), _answer)


NUM_ATTEMPTS = 3


async def _answer(observer: Any, store: Store, request: ScoreRequest) -> object:
    from actors.user_classes.replica import WrongAnswer, read_look

    seen = await call(observer.observe, await read_look(store, request))
    try:
        return as_json(seen)
    except (TypeError, ValueError) as error:
        raise WrongAnswer(f"observe: {error_text(error)}") from error


def _class(config: EvidenceConfig, where: str = "evidence.kind") -> UserClass:
    assert config.kind is not None
    return UserClass(config.kind, config.options, {"observe": ("look",)}, where)


KIND = OwnEvidence()
