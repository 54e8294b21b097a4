"""Defines what tests of the API have in common."""

ENVIRONMENT_TOKEN = "the-token-of-the-environment-0123456789"
