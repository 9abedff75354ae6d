"""The samplers: vLLM engines that receive the policy's weights."""
