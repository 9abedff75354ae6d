"""Servers that a run starts for itself, watches, and stops."""
