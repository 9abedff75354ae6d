"""Functions that a recipe names: found, looked at, and tried on samples of every kind."""
