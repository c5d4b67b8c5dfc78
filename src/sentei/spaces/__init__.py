"""Populations of pruned networks: spaces, samples of them, and what their statistics can say."""
