"""Benchmarks behind `nija bench`: each compares two ways of doing the same in one run and prints medians and ratio."""
