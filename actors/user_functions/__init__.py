"""Reward functions that are not ours, in processes of their own."""
