"""The samplers: vLLM engines, and how they get the policy's weights."""
