"""Reads the settings of a stage and sets up its log: what each stage does first."""

from shared.config.load import load_settings, log_misspelt_variables
from shared.config.settings import Settings
from shared.domain.identity import Broker
from shared.observability.logging import configure_logging
from shared.observability.start import Start


def settings_of_stage(start: Start, *, broker: Broker | None = None) -> Settings:
    """Return the settings; the log is set up, and `start` knows what to conceal. Raises ConfigurationError."""
    settings = load_settings()
    start.debug = start.debug or settings.debug
    start.conceal(settings.secrets())
    configure_logging(
        start.process,
        broker=broker.value if broker else None,
        level=settings.log_level,
        output_format=settings.log_format,
        secrets=settings.secrets(),
    )
    log_misspelt_variables()
    return settings
