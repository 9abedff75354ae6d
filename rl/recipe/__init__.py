"""Recipes: everything that makes an experiment, read and checked."""
