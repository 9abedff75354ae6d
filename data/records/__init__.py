"""Records of RL and SFT: what one says, checked with file, line and field."""
