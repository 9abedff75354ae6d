"""A finished run's samples under another reward."""
