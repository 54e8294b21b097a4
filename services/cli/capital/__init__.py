"""Holds the commands of `nija capital`, which show the capital of a master account and what the capital rules say."""
