"""A study of pruning spaces on a cluster: its inputs, measured or published, and its simulation."""
