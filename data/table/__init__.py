"""Records by number, without holding them: indexes and digests on disk."""
