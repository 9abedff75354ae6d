"""The ledger of a run in a bucket: its logs are shipped in sealed segments, and restored where the disk is empty."""
