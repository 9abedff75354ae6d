"""An engine without a model, to put under a sampler."""

import threading
from types import SimpleNamespace


class FakeEngine:
    """Counts down: the prompt says how many tokens a request takes. Steps only when told, if `is_held`."""

    def __init__(self):
        self.requests: dict[str, list[int]] = {}
        self.aborted: list[str] = []
        self.go, self.at_work = threading.Event(), threading.Event()
        self.go.set()

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

    def step(self):
        self.at_work.set()
        assert self.go.wait(10)
        outputs = []
        for request_id, progress in list(self.requests.items()):
            progress[0] += 1
            done, total = progress
            if total == 13:
                raise RuntimeError("out of memory")
            is_finished = done == total
            if is_finished:
                del self.requests[request_id]
            piece = SimpleNamespace(
                token_ids=[done],
                logprobs=[{done: SimpleNamespace(logprob=-float(done))}],
                finish_reason="length" if is_finished and total > 5 else "stop",
            )
            outputs.append(
                SimpleNamespace(request_id=request_id, prompt_token_ids=[7], outputs=[piece], finished=is_finished)
            )
        return outputs
