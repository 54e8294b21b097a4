"""Holds the stores of the API: its tokens, and the requests that are answered once."""
