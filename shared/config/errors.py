"""What goes wrong while settings are read: one class, for the caller does one thing next (say it and exit)."""

from shared.domain.errors import NijaError


class ConfigurationError(NijaError):
    """A setting is missing or wrong; the text names it and says what would be right. Exit code 2."""
