"""What a run will need and take, before anything starts."""
