"""Routing over several engines, without engines."""

import asyncio
import pickle

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayTaskError

from actors.config import SamplerConfig
from actors.sampler.sampler import Samplers
from rollout.roles import SamplerError, SamplerUnavailable
from rollout.types import SampleRequest, SamplingParams


class CountingSamplers(Samplers):
    """Answers with the engine's name; an engine may be told to fail."""

    def __init__(self, num_engines: int, failures: dict[str, Exception] | None = None):
        super().__init__([f"engine {number}" for number in range(num_engines)], SamplerConfig(max_num_seqs=4))
        self.asked: list[str] = []
        self.failures = failures or {}

    async def _ask(self, index: int, request: SampleRequest):
        engine = self.engines[index]
        self.asked.append(engine)
        self._load[index] += 1
        await asyncio.sleep(0)
        self._load[index] -= 1
        if engine in self.failures:
            raise self.failures[engine]
        return engine


def ask(samplers: Samplers, prompts: list[str]) -> list[str]:
    async def all_at_once():
        requests = [SampleRequest(({"role": "user", "content": text},), (), SamplingParams(), 0) for text in prompts]
        return await asyncio.gather(*[samplers.sample(request) for request in requests])

    return asyncio.run(all_at_once())


def test_the_responses_of_one_prompt_share_an_engine():
    samplers = CountingSamplers(3)
    answers = ask(samplers, ["a"] * 4 + ["b"] * 4 + ["c"] * 4)
    assert [len(set(answers[start : start + 4])) for start in (0, 4, 8)] == [1, 1, 1]
    assert len(set(answers)) == 3


def test_a_full_engine_sends_its_prompt_elsewhere():
    answers = ask(CountingSamplers(2), ["a"] * 12)
    # The first is full with 4; the second is the prompt's home until it has 4 more than the first.
    assert sorted(answers.count(engine) for engine in set(answers)) == [4, 8]


@pytest.mark.parametrize("loss", [ActorDiedError(), ObjectLostError("00", "127.0.0.1:1", "")])
def test_a_dead_engines_request_goes_to_another_and_it_is_avoided_for_a_while(loss):
    samplers = CountingSamplers(2, {"engine 0": loss})
    assert set(ask(samplers, list("abcdef"))) == {"engine 1"}
    samplers.asked.clear()
    assert set(ask(samplers, list("abcdef"))) == {"engine 1"}
    assert samplers.asked == ["engine 1"] * 6


RESTARTING = ActorUnavailableError("IOError: The actor is restarting.", None)
UNREACHABLE = ActorUnavailableError("RpcError: RPC error: Socket closed rpc_code: 14.", None)


@pytest.fixture
def no_waiting(monkeypatch):
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: sleep(min(seconds, 0.001) if seconds < 60 else seconds))


def test_no_engine_left():
    samplers = CountingSamplers(2, {"engine 0": SamplerUnavailable("waits"), "engine 1": ActorDiedError()})
    samplers.patience_s = 0.0
    with pytest.raises(SamplerUnavailable, match=r"no sampler can answer; .*sampler 0: waits"):
        ask(samplers, ["a"])


def test_engines_that_are_dead_for_good_are_not_waited_for():
    samplers = CountingSamplers(2, dict.fromkeys(["engine 0", "engine 1"], ActorDiedError()))
    with pytest.raises(SamplerUnavailable, match="The actor died unexpectedly"):
        ask(samplers, ["a"])
    assert len(samplers.asked) == 2


@pytest.mark.parametrize("loss", [UNREACHABLE, RESTARTING, SamplerUnavailable("waits for the next publish")])
def test_where_none_can_answer_a_request_waits_until_one_can(loss, no_waiting):
    class Back(CountingSamplers):
        async def _ask(self, index, request):
            if len(self.asked) == 7:
                self.failures.clear()
            return await super()._ask(index, request)

    samplers = Back(2, dict.fromkeys(["engine 0", "engine 1"], loss))
    assert ask(samplers, ["a"])[0] in ("engine 0", "engine 1")
    assert len(samplers.asked) == 8


def test_a_request_that_kills_engines_again_and_again_is_given_up(no_waiting):
    class Dying(CountingSamplers):
        """One engine that dies of the request, and comes back."""

        lives = iter([UNREACHABLE, UNREACHABLE, RESTARTING, SamplerUnavailable("it waits for the next publish")] * 9)

        async def _ask(self, index, request):
            self.failures["engine 0"] = next(self.lives)
            return await super()._ask(index, request)

    samplers = Dying(1)
    with pytest.raises(SamplerUnavailable, match="Socket closed"):
        ask(samplers, ["a"])
    assert len(samplers.asked) == 2 * 4 + 1


def test_weights_are_lacking_where_no_engine_that_lives_has_any():
    class Having:
        """What `engine.has_weights` of an actor handle looks like."""

        def __init__(self, answer):
            self.has_weights, self.answer = self, answer

        async def remote(self):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    def lacking(*answers):
        samplers = CountingSamplers(len(answers))
        samplers.engines = tuple(map(Having, answers))
        return asyncio.run(samplers.lack_weights())

    died = RayTaskError("has_weights", "", SamplerUnavailable("the vLLM engine died"))
    assert lacking(False, RESTARTING, ActorDiedError(), died)
    assert not lacking(False, RESTARTING, True)


def test_a_bad_request_is_not_tried_again():
    samplers = CountingSamplers(2, dict.fromkeys(["engine 0", "engine 1"], SamplerError("too long")))
    with pytest.raises(SamplerError, match="too long"):
        ask(samplers, ["a"])
    assert len(samplers.asked) == 1


def test_a_copy_routes_for_itself():
    samplers = Samplers(["engine 0"], SamplerConfig())
    samplers._load[0] = 7
    copy = pickle.loads(pickle.dumps(samplers))
    assert copy.engines == samplers.engines
    assert copy._load == [0]


def test_engines_counts_add_up_and_a_dead_one_is_left_out():
    class Stats:
        """What `engine.stats` of an actor handle looks like."""

        def __init__(self, answer):
            self.stats = self
            self.answer = answer

        async def remote(self):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    samplers = CountingSamplers(3)
    samplers.engines = (
        Stats({"seconds": 1.0, "tokens": 5.0}),
        Stats(ActorDiedError()),
        Stats({"seconds": 2.0, "tokens": 6.0}),
    )
    assert asyncio.run(samplers.stats()) == {"samplers/seconds": 3.0, "samplers/tokens": 11.0}


class Standing:
    """What `engine.is_up` of an actor handle looks like: says one thing after the other, then the last one again."""

    def __init__(self, *answers):
        self.is_up = self
        self.answers = list(answers)

    async def remote(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == "silence":
            await asyncio.sleep(3600)
        return answer


def living(*standings, **options) -> set[int]:
    samplers = CountingSamplers(len(standings))
    samplers.engines = standings
    return set(asyncio.run(samplers.living(**options)))


def test_nobody_waits_for_engines_that_are_gone_while_others_live():
    died = RayTaskError("is_up", "", SamplerUnavailable("the vLLM engine died"))
    assert living(
        Standing(False), Standing(True), Standing(RESTARTING), Standing(ActorDiedError()), Standing(died)
    ) == {1}


def test_the_last_engine_is_waited_for(no_waiting):
    assert living(Standing(RESTARTING, False, True), Standing(ActorDiedError())) == {0}


def test_an_engine_that_is_out_of_reach_is_asked_until_it_is_clear_what_became_of_it(no_waiting):
    """It might hold old weights, and draw with them."""
    assert living(Standing(UNREACHABLE, UNREACHABLE, True), Standing(True)) == {0, 1}
    assert living(Standing(UNREACHABLE, UNREACHABLE, RESTARTING), Standing(True)) == {1}


def test_an_engine_that_says_nothing_is_restarted(monkeypatch):
    killed = []
    monkeypatch.setattr("actors.sampler.sampler._SILENT_S", 0.01)
    monkeypatch.setattr("ray.kill", lambda engine, no_restart: killed.append((engine, no_restart)))
    silent = Standing("silence")
    assert living(silent, Standing(True)) == {1}
    assert killed == [(silent, False)]


def test_no_engine_is_left_or_none_comes_up(no_waiting):
    with pytest.raises(SamplerUnavailable, match="every sampler is dead"):
        living(Standing(ActorDiedError()), Standing(ActorDiedError()))
    with pytest.raises(TimeoutError, match="does Ray have free CPUs or GPUs"):
        living(Standing(RESTARTING), Standing(ActorDiedError()), timeout_s=0.01)


def test_where_an_engine_is_lost_the_others_sleep():
    slept = []

    class Sleeper:
        def __init__(self, error=None):
            self.sleep, self.error = self, error

        async def remote(self):
            if self.error:
                raise self.error
            slept.append(self)

    class Survivors(CountingSamplers):
        async def living(self, timeout_s: float = 0.0):
            return {1: self.engines[1]}

    samplers = Survivors(2)
    samplers.engines = (Sleeper(ActorDiedError()), Sleeper())
    asyncio.run(samplers.sleep())
    assert set(slept) == {samplers.engines[1]}
