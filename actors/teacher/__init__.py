"""Teachers of planner and critic while data is built."""
