"""Runs of public benchmarks: outputs by the storyteller, answers by a judge, figures; each paid for once."""
