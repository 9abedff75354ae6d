"""A critic as the public system's prompts teach it to answer."""

from rollout.text.critique import parse_critique
from rollout.types import Response, SampleRequest
from tests.support.fakes import FakeSampler


class LiteralSampler(FakeSampler):
    """Says what `FakeSampler` says as Python literals, but for a strict share of the answers, by their seed."""

    def __init__(self, strict: float = 0.0, **settings):
        super().__init__(**settings)
        self.strict = strict

    async def sample(self, request: SampleRequest) -> Response:
        drawn = await super().sample(request)
        if "<answer>" not in drawn.text or request.seed % 1000 < 1000 * self.strict:
            return drawn
        said = parse_critique(drawn.text)
        answer = {"previous_step_success": said.is_success, "refine_prompt": said.refine_prompt}
        text = f"<think>{said.thought}</think>\n<answer>{answer}</answer>"
        return Response(drawn.prompt_token_ids, drawn.token_ids, text, drawn.logprobs, drawn.policy_version)
