"""Settings of an endpoint: where paid answers come from, and at what price."""

from dataclasses import dataclass

from rollout.text.limits import KeyVariable, NonNegativeFloat, NonNegativeInt, Url, check_fields


@dataclass(frozen=True)
class EndpointConfig:
    """Access to a model: a server and a key. A judge's or generator's endpoints are equal: any may answer any call."""

    base_url: Url | None = None
    """None: OpenAI's own."""
    api_key_env: KeyVariable = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    model: str = ""
    """The model's name there; empty: the judge's or generator's."""
    has_proxy: bool = True
    """Use the environment's proxy, if it names one; false for a server in the local network."""
    max_concurrency: NonNegativeInt = 0
    """Requests in flight; 0: the judge's or generator's limit."""
    requests_per_minute: NonNegativeFloat = 0.0
    """0: no limit."""
    tokens_per_minute: NonNegativeFloat = 0.0
    """Input and output together; 0: no limit."""
    usd_per_million_input_tokens: NonNegativeFloat = 0.0
    usd_per_million_output_tokens: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "endpoints")
