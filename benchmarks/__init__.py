"""Holds the benchmarks of `nija bench`: each compares two ways in one run, and prints medians and their ratio."""
