"""Asking an actor that may be dead for a while."""

import asyncio

import pytest
from ray.exceptions import RayActorError

from actors import calls
from actors.calls import retry_until_alive
from actors.metered.retry import CallError
from actors.metered.shared_calls import SharedCalls
from actors.store.ledger_writer import RemoteAppender


class Dying:
    """An actor that dies so often, then answers; `append` and `get` are its methods."""

    def __init__(self, deaths):
        self.left = deaths
        self.rows = []
        self.append = self.get = self

    def remote(self, *arguments):
        return self._answer(arguments)

    async def _answer(self, arguments):
        await asyncio.sleep(0)
        if self.left > 0:
            self.left -= 1
            raise RayActorError
        self.rows += arguments
        return len(arguments)


def test_who_is_asked_again_answers_once_alive():
    actor = Dying(2)
    assert asyncio.run(retry_until_alive(lambda: actor.remote("a"))) == 1
    assert (actor.left, actor.rows) == (0, ["a"])


def never_made(is_continued):
    raise AssertionError("the owner is an actor")


def test_who_stays_dead_is_given_up_and_each_caller_says_so_in_his_words(monkeypatch):
    monkeypatch.setattr(calls, "PATIENCE_S", 0.02)
    with pytest.raises(RayActorError):
        asyncio.run(retry_until_alive(lambda: Dying(99).remote()))
    with pytest.raises(CallError, match="owner_lost"):
        asyncio.run(SharedCalls(never_made, Dying(99)).get({}, None))
    with pytest.raises(OSError, match="ledger's writer did not come back"):
        asyncio.run(RemoteAppender(Dying(99)).append([{}]))


def test_rows_reach_the_ledger_though_who_sent_them_was_cancelled():
    async def scenario():
        actor = Dying(0)
        sending = asyncio.create_task(RemoteAppender(actor).append([{"row": 1}]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        await asyncio.sleep(0.01)
        return sending.cancelled(), actor.rows

    assert asyncio.run(scenario()) == (True, [[{"row": 1}]])
