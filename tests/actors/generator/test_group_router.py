"""Which replica edits of a group are sent to; replicas are stand-ins."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout.types import EditRequest

SLACK = 8


@pytest.fixture
def router():
    from actors.generator.group_router import GroupRouter

    router = object.__new__(GroupRouter)  # without what Serve brings: queues, probes and metrics
    router.initialize_state(slack=SLACK)
    return router


def replicas(*names):
    return [SimpleNamespace(replica_id=SimpleId(name)) for name in names]


class SimpleId(str):
    @property
    def unique_id(self):
        return str(self)


def pending(image, number, *, is_cancelled=False):
    name = f"{image} {number}"
    future = SimpleNamespace(cancelled=lambda: is_cancelled)
    return SimpleNamespace(
        args=[EditRequest(image, "p", number)], metadata=SimpleNamespace(internal_request_id=name), future=future
    )


def chosen(router, request, among):
    first, _rest = asyncio.run(router.choose_replicas(among, request))
    return str(first[0].replica_id)


def test_each_group_has_a_replica_of_its_own_whatever_the_order(router):
    among = replicas("a", "b")
    went = {(image, chosen(router, pending(image, n), among)) for n in range(SLACK) for image in ("x", "y")}
    assert len(went) == 2
    assert {replica for _, replica in went} == {"a", "b"}


def test_an_idle_replica_takes_what_is_more_than_a_batch(router):
    went = [chosen(router, pending("x", number), replicas("a", "b")) for number in range(2 * SLACK)]
    assert len(set(went[:SLACK])) == 1
    assert went.count(went[0]) < 2 * SLACK


def test_edits_that_ended_or_were_cancelled_do_not_count(router):
    among = replicas("a", "b")
    first = chosen(router, pending("x", 0, is_cancelled=True), among)
    for number in range(1, SLACK):
        chosen(router, pending("x", number), among)
        router.on_request_completed(SimpleId(first), f"x {number}")
    assert [chosen(router, pending("x", SLACK + number), among) for number in range(SLACK)] == [first] * SLACK


def test_an_edit_counts_where_it_went_not_where_it_was_to_go(router):
    among = replicas("a", "b")
    request = pending("x", 0)
    home = chosen(router, request, among)
    [other] = {"a", "b"} - {home}
    router.on_request_routed(request, SimpleId(other), None)
    assert router._counts() == {other: 1}


def test_calls_without_an_edit_go_to_any_replica(router):
    among = replicas("a", "b")
    [every] = asyncio.run(router.choose_replicas(among, SimpleNamespace(args=[])))
    assert every == among
