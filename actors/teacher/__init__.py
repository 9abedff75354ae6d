"""Teachers of planner and critic, for building data."""
