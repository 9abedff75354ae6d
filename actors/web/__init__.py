"""The service: generator and storyteller behind HTTP."""
