"""A finished run's samples under another reward, and a reward tried on a few samples."""
