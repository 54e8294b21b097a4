"""Computes technical indicators with TA-Lib: the only place where prices become floats. No amount of money does."""
