"""What a run's folder holds: how it starts, what explains it, and its report."""
