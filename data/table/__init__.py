"""Records by number, without holding them in memory: indexes and digests on disk."""
