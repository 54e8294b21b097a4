"""Reads days and times of the command line. A time without a zone is UTC."""

from datetime import UTC, datetime

from shared.config import ConfigurationError


def parse_moment(text: str | None, option: str) -> datetime | None:
    """Return a moment in UTC; None where the option was not given. Raises ConfigurationError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} is {text!r}; it should be a day or a time, such as 2022-01-15") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
