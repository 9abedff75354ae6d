"""What a run says of itself while it runs: metrics, the terminal's table, trackers such as W&B, alerts."""
