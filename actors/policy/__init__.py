"""The policy: FSDP2 ranks through verl, what they learn from and what they compute."""
