"""An engine without a model, to put under a sampler."""

import asyncio
import threading
from types import SimpleNamespace


class FakeEngine:
    """Counts up: the prompt says how many tokens a request takes. Steps only while `go` is set."""

    def __init__(self):
        self.requests: dict[str, list[int]] = {}
        self.aborted: list[str] = []
        self.batches: list[int] = []
        """Requests of each step."""
        self.go, self.at_work = threading.Event(), threading.Event()
        self.go.set()
        self.renderer = FakeRenderer()

    def add_request(self, request_id, prompt, params):
        if prompt["tokens"] == 0:
            raise ValueError("prompt too long")
        if prompt["tokens"] < 0:
            try:
                raise ValueError("absolute aspect ratio must be smaller than 200, got 4096.0")
            except ValueError as error:
                raise ValueError(f"Failed to apply the processor on [{object()!r}]") from error
        self.requests[request_id] = [0, prompt["tokens"]]

    def abort_request(self, request_ids):
        for request_id in request_ids:
            self.aborted.append(request_id)
            self.requests.pop(request_id)

    def has_unfinished_requests(self):
        return bool(self.requests)

    def num_drawn(self):
        return {request_id: done for request_id, (done, _) in self.requests.items()}

    def drain(self):
        return []

    def step(self):
        self.at_work.set()
        assert self.go.wait(10)
        return self.draw(list(self.requests))

    def draw(self, request_ids):
        """Draw a token for each request that is still there; return those that are finished."""
        self.batches.append(len(request_ids))
        outputs = []
        for request_id in self.requests.keys() & request_ids:
            progress = self.requests[request_id]
            progress[0] += 1
            done, total = progress
            if total == 13:
                raise RuntimeError("out of memory")
            if done == total:
                del self.requests[request_id]
                tokens = list(range(1, total + 1))
                piece = SimpleNamespace(
                    token_ids=tokens,
                    logprobs=SimpleNamespace(logprobs=[-float(token) for token in tokens]),
                    finish_reason="length" if total > 5 else "stop",
                )
                outputs.append(SimpleNamespace(request_id=request_id, prompt_token_ids=[7], outputs=[piece]))
        return outputs


class LateEngine(FakeEngine):
    """Schedules asynchronously: what a step draws is known when the next one has begun."""

    def __init__(self):
        super().__init__()
        self.in_flight = []

    def step(self):
        self.at_work.set()
        assert self.go.wait(10)
        ended, self.in_flight = self.in_flight, list(self.requests)
        return self.draw(ended)

    def drain(self):
        ended, self.in_flight = self.in_flight, []
        return self.draw(ended)


class FakeRenderer:
    """Renders any prompt to two tokens; waits for `go`, or refuses what `refused` names."""

    def __init__(self):
        self.rendered: list[str] = []
        self.refused: set[str] = set()
        self.go = asyncio.Event()
        self.go.set()

    async def render_cmpl_async(self, prompts):
        [prompt] = prompts
        self.rendered.append(prompt["prompt"])
        await self.go.wait()
        if prompt["prompt"] in self.refused:
            raise ValueError("prompt too long")
        return [{"tokens": 2}]
