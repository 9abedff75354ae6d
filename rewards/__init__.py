"""Rewards: a term is a function of a sample's evidence, as in `accuracy.py`, named in `recipes/reward/*.yaml`."""
