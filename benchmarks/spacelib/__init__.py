"""What the benchmarks of pruning spaces measure."""
