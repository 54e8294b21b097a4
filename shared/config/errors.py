"""Defines the one error of reading settings; its caller prints the text and exits."""

from shared.domain.errors import NijaError


class ConfigurationError(NijaError):
    """A setting is missing or wrong; the text names it and says what would be right. Exit code 2."""
