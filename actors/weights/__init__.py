"""How the policy's weights reach the samplers, and how that is verified."""
