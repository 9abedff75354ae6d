"""Supervised fine-tuning of critic and planner."""
