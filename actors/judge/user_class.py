"""A judge that is a class of the user's own: its replicas are a scorer's, its answers are kept under its digest."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from actors.judge.config import JudgeConfig
from actors.judge.embedded import EmbeddedJudge, start_calls
from actors.run_context import RunContext
from actors.store.store import Store
from actors.user_classes.classes import UserClass, call
from actors.user_classes.replica import UserReplica, WrongAnswer, read_image, read_look
from actors.user_classes.roles import TwoLooks
from rewards.judging.rubric import RubricError, check_scores
from rollout.text.strict_json import excerpt
from rollout.types import CompareRequest, ScoreRequest, Scores


@dataclass(frozen=True)
class OwnJudge(EmbeddedJudge):
    """Satisfies `rollout.roles.Judge`."""

    has_compare: bool

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt, side by side where the class has `compare`."""
        if not self.has_compare:
            return await super().compare(request)
        old, new = await self._ask(request, request.before, request.old, request.new)
        return Scores(**old), Scores(**new)


async def start_own_judge(config: JudgeConfig, context: RunContext, own: UserClass) -> OwnJudge:
    """Deploy the pool of a class and return its judge."""
    owner = await start_calls(config, context, partial(UserReplica, own, answer, context.root))
    return OwnJudge(own.identity, context.root, owner, hasattr(own.make(), "compare"))


async def answer(judge: Any, store: Store, request: ScoreRequest | CompareRequest) -> object:
    """Return what a class answers, as JSON. Raises `WrongAnswer`."""
    if isinstance(request, ScoreRequest):
        return _as_json(await call(judge.score, await read_look(store, request)), "score")
    before, old, new = [await read_image(store, image) for image in (request.before, request.old, request.new)]
    assert old is not None
    assert new is not None
    scores = await call(judge.compare, TwoLooks(before, old, new, request.instruction))
    if not isinstance(scores, tuple | list) or len(scores) != 2:
        raise WrongAnswer(f"compare returned {excerpt(scores)}, expected two Scores: of old and of new")
    return [_as_json(one, "compare") for one in scores]


def _as_json(scores: object, method: str) -> dict[str, object]:
    try:
        return asdict(check_scores(scores, method))
    except RubricError as error:
        raise WrongAnswer(error.detail, error.kind) from None
