"""Benchmarks on trained agents."""
