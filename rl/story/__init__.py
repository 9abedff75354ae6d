"""Interleaved text-image sequences from a recipe: one story, many in a folder, their evaluation, a bundle to serve."""
