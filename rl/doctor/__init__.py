"""Whether a machine, a recipe and a cluster fit: what does not, and how to mend it."""
