"""The thread around an engine, with a fake engine: order, aborts, pauses and death."""

import time

import pytest

from actors.sampler.engine_loop import EngineLoop
from rollout.roles import SamplerError, SamplerUnavailable
from tests.support.fake_engine import FakeEngine, LateEngine

WAIT_S = 10


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def late() -> LateEngine:
    return LateEngine()


@pytest.fixture
def loop(engine: FakeEngine) -> EngineLoop:
    loop = EngineLoop(lambda: engine)
    loop.ready.result(WAIT_S)
    return loop


def ask(loop: EngineLoop, tokens: int):
    return loop.generate({"tokens": tokens}, None)[1]


def test_a_request_is_answered_when_it_is_finished(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    long, short = ask(loop, 6), ask(loop, 2)
    engine.go.set()
    assert short.result(WAIT_S).token_ids == [1, 2]
    answer = long.result(WAIT_S)
    assert answer.logprobs == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
    assert (answer.token_ids, answer.prompt_token_ids) == ([1, 2, 3, 4, 5, 6], [7])
    assert answer.is_truncated
    assert not short.result().is_truncated


def test_a_refused_request_fails_alone(loop: EngineLoop):
    refused, good = ask(loop, 0), ask(loop, 3)
    with pytest.raises(SamplerError, match="prompt too long"):
        refused.result(WAIT_S)
    assert len(good.result(WAIT_S).token_ids) == 3


def test_a_response_is_as_old_as_its_first_token(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    crossing = ask(loop, 3)
    assert engine.at_work.wait(WAIT_S)
    pausing, queued = loop.pause(), ask(loop, 2)
    engine.go.set()
    pausing.result(WAIT_S)
    assert not crossing.done()
    loop.resume(version=5).result(WAIT_S)
    assert [answer.result(WAIT_S).version for answer in (crossing, queued)] == [0, 5]
    assert ask(loop, 1).result(WAIT_S).version == 5


def test_a_pause_waits_for_the_step_in_flight(late: LateEngine):
    """What it drew was drawn by the weights before the load; nobody draws with half of the new ones."""
    loop = EngineLoop(lambda: late)
    late.go.clear()
    longer, last = ask(loop, 2), ask(loop, 1)
    assert late.at_work.wait(WAIT_S)
    pausing = loop.pause()
    late.go.set()
    pausing.result(WAIT_S)
    assert loop.run(lambda engine: (engine.in_flight, engine.num_drawn())).result(WAIT_S) == ([], {"0": 1})
    assert last.result(WAIT_S).version == 0, "the step in flight finished it"
    loop.resume(version=5).result(WAIT_S)
    assert longer.result(WAIT_S).version == 0
    assert ask(loop, 2).result(WAIT_S).version == 5


def test_what_has_begun_is_finished_before_a_pause_that_waits(engine: FakeEngine, loop: EngineLoop):
    """All tokens of an answer are of one version; who comes meanwhile is answered by the next."""
    engine.go.clear()
    begun = ask(loop, 3)
    assert engine.at_work.wait(WAIT_S)
    queued = ask(loop, 2)
    pausing, late = loop.pause("wait"), ask(loop, 4)
    engine.go.set()
    pausing.result(WAIT_S)
    assert begun.result(0).version == 0
    assert (engine.batches, engine.num_drawn()) == ([1, 1, 1], {"1": 0, "2": 0}), "those that wait are in their order"
    loop.resume(version=5).result(WAIT_S)
    assert [answer.result(WAIT_S).version for answer in (queued, late)] == [5, 5]


def test_who_is_held_back_can_still_go_away(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    begun = ask(loop, 2)
    assert engine.at_work.wait(WAIT_S)
    pausing = loop.pause("wait")
    request_id, _ = loop.generate({"tokens": 9}, None)
    loop.abort(request_id)
    engine.go.set()
    pausing.result(WAIT_S)
    assert (begun.result(0).token_ids, engine.requests) == ([1, 2], {})


def test_a_pause_at_once_overtakes_one_that_waits(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    begun = ask(loop, 9)
    assert engine.at_work.wait(WAIT_S)
    waits, late, now = loop.pause("wait"), ask(loop, 2), loop.pause()
    engine.go.set()
    for pausing in (waits, now):
        pausing.result(WAIT_S)
    assert engine.num_drawn() == {"0": 1, "1": 0}
    loop.resume(version=5).result(WAIT_S)
    assert [answer.result(WAIT_S).version for answer in (begun, late)] == [0, 5]


@pytest.mark.parametrize("in_flight", ["abort", "wait"])
def test_what_has_begun_is_drawn_again(engine: FakeEngine, loop: EngineLoop, in_flight: str):
    """In its order, before those that queue; a loop that is paused already cannot wait for it either."""
    engine.go.clear()
    begun = ask(loop, 3)
    assert engine.at_work.wait(WAIT_S)
    if in_flight == "wait":
        loop.pause()
    pausing = loop.pause(in_flight)
    queued = ask(loop, 2)
    engine.go.set()
    pausing.result(WAIT_S)
    assert (engine.num_drawn(), engine.aborted) == ({"0": 0, "1": 0}, ["0"])
    loop.resume(version=5).result(WAIT_S)
    answer = begun.result(WAIT_S)
    assert (answer.token_ids, answer.version) == ([1, 2, 3], 5)
    assert queued.result(WAIT_S).version == 5
    assert loop.num_tokens().result(WAIT_S) == 1 + 3 + 2


def test_a_death_while_a_pause_waits_is_told(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    begun = ask(loop, 13)
    assert engine.at_work.wait(WAIT_S)
    pausing, held = loop.pause("wait"), ask(loop, 1)
    engine.go.set()
    for future in (begun, pausing, held):
        with pytest.raises(SamplerUnavailable, match="out of memory"):
            future.result(WAIT_S)


def test_a_step_in_flight_that_fails_is_the_engines_death(late: LateEngine):
    loop = EngineLoop(lambda: late)
    late.go.clear()
    answer = ask(loop, 13)
    assert late.at_work.wait(WAIT_S)
    pausing = loop.pause()
    late.go.set()
    for future in (pausing, answer, loop.num_tokens()):
        with pytest.raises(SamplerUnavailable, match="RuntimeError: out of memory"):
            future.result(WAIT_S)


def test_a_few_requests_are_added_between_steps(engine: FakeEngine, loop: EngineLoop):
    """Many at once would hold up those that run."""
    engine.go.clear()
    ask(loop, 4)
    assert engine.at_work.wait(WAIT_S)
    crowd = [ask(loop, 1) for _ in range(40)]
    engine.go.set()
    for answer in crowd:
        answer.result(WAIT_S)
    assert engine.batches == [1, 17, 17, 9]


def test_nothing_is_stepped_while_paused(engine: FakeEngine, loop: EngineLoop):
    loop.pause().result(WAIT_S)
    waiting = ask(loop, 1)
    assert loop.run(lambda engine: len(engine.requests)).result(WAIT_S) == 1
    assert loop.run(lambda engine: engine.requests["0"][0]).result(WAIT_S) == 0
    loop.resume(version=1).result(WAIT_S)
    assert waiting.result(WAIT_S).version == 1


def test_an_aborted_request_is_dropped(engine: FakeEngine, loop: EngineLoop):
    loop.pause().result(WAIT_S)
    request_id, _ = loop.generate({"tokens": 9}, None)
    loop.abort(request_id)
    loop.abort("never heard of")
    loop.run(lambda engine: None).result(WAIT_S)
    assert engine.aborted == [request_id]
    assert not engine.requests


def test_whoever_goes_away_while_the_engine_steps_takes_nobody_along(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    gone, staying = ask(loop, 1), ask(loop, 2)
    assert engine.at_work.wait(WAIT_S)
    assert gone.cancel()  # the step that finishes it is under way
    never = loop.run(lambda engine: engine.aborted.append("never"))
    assert never.cancel()
    engine.go.set()
    assert staying.result(WAIT_S).token_ids == [1, 2]
    assert loop.error is None
    assert engine.aborted == []


def test_a_failing_command_hurts_only_its_caller(loop: EngineLoop):
    with pytest.raises(ZeroDivisionError):
        loop.run(lambda engine: 1 / 0).result(WAIT_S)
    assert ask(loop, 2).result(WAIT_S).token_ids == [1, 2]


def test_a_dead_engine_answers_everybody(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    answers = [ask(loop, 100), ask(loop, 13)]
    engine.go.set()
    for answer in answers:
        with pytest.raises(SamplerUnavailable, match="RuntimeError: out of memory"):
            answer.result(WAIT_S)
    with pytest.raises(SamplerUnavailable, match="out of memory"):
        ask(loop, 1).result(WAIT_S)


def test_an_engine_that_does_not_start_says_why():
    def build():
        raise OSError("no such model")

    with pytest.raises(SamplerUnavailable, match="no such model"):
        EngineLoop(build).ready.result(WAIT_S)


def test_seconds_at_work_and_tokens_are_counted(engine: FakeEngine, loop: EngineLoop):
    engine.go.clear()
    answer = ask(loop, 3)
    request_id, _ = loop.generate({"tokens": 9}, None)
    assert engine.at_work.wait(WAIT_S)
    time.sleep(0.05)
    engine.go.set()
    answer.result(WAIT_S)
    loop.abort(request_id)
    num_tokens = loop.num_tokens().result(WAIT_S)
    assert 3 + 2 <= num_tokens <= 3 + 9, "an aborted request's tokens count"
    busy = loop.busy_s
    assert busy >= 0.05
    assert loop.num_tokens().result(WAIT_S) == num_tokens
    assert loop.busy_s == busy, "an engine without requests does not work"


def test_a_refusal_says_what_is_wrong_and_names_no_object():
    _, answer = EngineLoop(FakeEngine).generate({"tokens": -1}, None)
    with pytest.raises(SamplerError) as caught:
        answer.result(WAIT_S)
    assert str(caught.value) == ("vLLM refused the request: absolute aspect ratio must be smaller than 200, got 4096.0")
