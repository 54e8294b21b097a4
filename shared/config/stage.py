"""What each stage does first: reads its settings, sets up its log, and checks the servers that they name."""

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from shared.config.errors import ConfigurationError
from shared.config.load import load_settings, log_misspelt_variables
from shared.config.settings import Settings
from shared.config.values import database_url as postgresql_url
from shared.config.values import redis_url
from shared.domain.accounts.key_text import bare
from shared.domain.identity import Broker
from shared.messaging.connection.errors import RedisUnavailable
from shared.messaging.connection.server_check import check_redis
from shared.messaging.stage_signs import StageRecord
from shared.observability.logging import configure_logging
from shared.observability.start import Start
from shared.running import until_usable, with_known_host

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = structlog.get_logger()


class _FailureReport:
    """Called with the line that says why a stage cannot start: leaves it where `nija status` finds it."""

    def __init__(self, record: StageRecord, brokers: Sequence[Broker]) -> None:
        self._record = record
        self._brokers = brokers
        self.settings: Settings | None = None
        """None while they cannot be read. Then the URLs come from the variables, if the settings would accept them."""

    def __call__(self, why: str) -> None:
        settings, brokers = self.settings, self._brokers
        if settings is not None:
            brokers = brokers or settings.enabled_brokers()
            found = {each: settings.own_redis_url(each) or settings.redis_url for each in brokers}
            database_url = settings.database_url
        else:
            shared_url = _accepted_url("REDIS_URL", redis_url)
            found = {each: _accepted_url(f"{each.name}_REDIS_URL", redis_url, shared_url) for each in brokers}
            database_url = _accepted_url("DATABASE_URL", postgresql_url)
        # Here, because Flower has no database and should not load what takes one.
        from shared.presence import leave_failure

        leave_failure(self._record, why, {each: url for each, url in found.items() if url}, database_url)


def _accepted_url(variable: str, check: Callable[[str], str], unset: str | None = None) -> str | None:
    """The URL in this variable. None if the settings refuse it, because a library may show its password as a host."""
    url = bare(os.environ.get(variable, ""))
    try:
        return check(url) if url else unset
    except ValueError:
        return None


def settings_of_stage(start: Start, *brokers: Broker, record: StageRecord | None = None) -> Settings:
    """Return the settings; the log is set up, and `start` knows what to conceal. Raises ConfigurationError.

    `brokers`: those that the command line names; with one, each line of the log names it. `record`: the process; its
    failure to start is left where `nija status` finds it.
    """
    report = _FailureReport(record, brokers) if record is not None else None
    if report is not None:
        start.on_failure.append(report)
    settings = load_settings()
    if report is not None:
        report.settings = settings
    start.debug = start.debug or settings.debug
    start.conceal(settings.secrets())
    set_up_log(start.process, settings, broker=brokers[0] if len(brokers) == 1 else None)
    log_misspelt_variables()
    return settings


def set_up_log(process: str, settings: Settings, *, broker: Broker | None = None) -> None:
    """Set up the log of this process as the settings say. Raises ConfigurationError."""
    try:
        configure_logging(
            process,
            broker=broker.value if broker else None,
            level=settings.log_level,
            output_format=settings.log_format,
            secrets=settings.secrets(),
            file=settings.log_file,
        )
    except OSError as error:
        raise ConfigurationError(
            f"NIJA_LOG_FILE={settings.log_file} cannot be written: {error.strerror}; name a file in a folder that exists"
        ) from None


async def database_is_usable(engine: "Engine", stopping: asyncio.Event, away: Callable[[str], None]) -> None:
    """Return once PostgreSQL answers and can be used, or `stopping` is set.

    `away` is called with the reason while it does not answer. Raises DatabaseUnusable, SchemaOutdated.
    """
    # Flower has no database, and should not load what takes one.
    from shared.persistence.schema import check_database

    await until_usable(lambda: check_database(engine), stopping, away)


async def redis_is_usable(
    settings: Settings, broker: Broker, stopping: asyncio.Event, away: Callable[[str], None] = lambda _why: None
) -> None:
    """Return once the Redis of a broker answers and can be used, or `stopping` is set. Raises RedisUnusable."""
    setting, url = settings.redis_setting_for(broker), settings.redis_url_for(broker)
    for warning in await until_usable(lambda: check_redis(setting, url, [broker]), stopping, away) or ():
        log.warning("redis is not as it should be", warning=warning)


async def refuse_unusable_redis(settings: Settings, brokers: Sequence[Broker], stopping: asyncio.Event) -> None:
    """Raise RedisUnusable for a Redis of these brokers that answers and cannot be used.

    One that does not answer yet is left to the loop of its broker: the others do not wait for it.
    """
    by_server: dict[tuple[str, str], list[Broker]] = {}
    for broker in brokers:
        server = settings.redis_setting_for(broker), settings.redis_url_for(broker)
        by_server.setdefault(server, []).append(broker)
    checks = [
        with_known_host(functools.partial(check_redis, setting, url, sharing), stopping)
        for (setting, url), sharing in by_server.items()
    ]
    for found in await asyncio.gather(*checks, return_exceptions=True):
        if isinstance(found, BaseException) and not isinstance(found, RedisUnavailable):
            raise found
