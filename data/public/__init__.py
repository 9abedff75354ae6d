"""The public system's trajectories: into our log, and out of it again."""
