"""A page that follows a run, live or dead, from its folder alone."""
