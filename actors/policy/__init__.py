"""The policy: FSDP2 ranks through verl, their input and their loss."""
