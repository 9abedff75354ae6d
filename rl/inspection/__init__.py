"""A page to look through a run's samples."""
