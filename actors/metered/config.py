"""Settings of an endpoint: whoever pays for answers says where they come from, and at what price."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.text.limits import KeyVariable, NonNegativeFloat, NonNegativeInt, Url, check_fields


@dataclass(frozen=True)
class EndpointConfig:
    """One way to a model: a server and a key. Those of a judge or generator are equals: any may answer any call."""

    base_url: Url | None = None
    """None is OpenAI's own."""
    api_key_env: KeyVariable = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    model: str = ""
    """What the model is called there; empty: as the judge or generator says."""
    has_proxy: bool = True
    """Go through the proxy that the environment names, if it does; false for a server in the own network."""
    max_concurrency: NonNegativeInt = 0
    """Requests in flight; 0: as the judge or generator says."""
    requests_per_minute: NonNegativeFloat = 0.0
    """0: no limit."""
    tokens_per_minute: NonNegativeFloat = 0.0
    """Input and output together; 0: no limit."""
    usd_per_million_input_tokens: NonNegativeFloat = 0.0
    usd_per_million_output_tokens: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "endpoints")
