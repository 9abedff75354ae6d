"""The HTTP service for a generator and a storyteller."""
