"""Answers questions about a running nija by functions that take connections and return frozen models."""
