"""Public benchmarks: their data, what is handed in, what a judge is asked, and their own numbers beside ours."""
