"""Commands for data sets: check, show and split them, and build them from requests."""
