"""Collects what `nija status` shows, from PostgreSQL and from the Redis of each broker.

Each server is asked separately, so that the rest is shown when one does not answer.
"""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from redis.exceptions import RedisError
from sqlalchemy import text

from shared.domain.copying.debt import Debt
from shared.domain.identity import Broker
from shared.domain.stop import Stop
from shared.messaging.stage_signs import KEPT_SECONDS
from shared.persistence.database import transaction
from shared.persistence.errors import DatabaseUnavailable, DatabaseUnusable, SchemaOutdated
from shared.persistence.reports.reports import Reports, with_followers
from shared.persistence.reports.stages import StageReport, recent_stage_reports
from shared.persistence.schema import check_database
from shared.persistence.stops import StopStore
from shared.queries.capital_findings import CapitalFacts, read_capital_facts
from shared.queries.connections import Connections
from shared.queries.debts import read_debts
from shared.queries.pipeline import read_pipeline
from shared.queries.pipeline_facts import Pipeline
from shared.queries.status import BrokerStatus, LedgerFacts, ProcessFacts, Run, SystemStatus
from shared.queries.traders import TradersStatus, read_traders

_NO_FACTS: Final = LedgerFacts(followers={}, last_fill=None)


class _Ledger(NamedTuple):
    """The answer of PostgreSQL. `error`: why there is none."""

    brokers: dict[Broker, LedgerFacts]
    reports: list[StageReport]
    stops: tuple[Stop, ...]
    error: str | None
    traders: TradersStatus | None = None
    capital: tuple[CapitalFacts, ...] = ()


def require_database(connections: Connections) -> None:
    """Return when PostgreSQL answers. Blocks. Raises DatabaseUnavailable."""
    with transaction(connections.engine) as connection:
        connection.execute(text("SELECT 1"))


def system_status(
    connections: Connections | None,
    enabled: Sequence[Broker],
    *,
    home: str,
    run: Run | None,
    processes: tuple[ProcessFacts, ...],
    unreachable: str | None = None,
) -> SystemStatus:
    """Ask all servers and return their answers, and the errors of servers that do not answer.

    `enabled`: the brokers to report about; if empty, those with followers. `run` and `processes`: the facts about the
    run on this machine. `connections` None: nothing can be asked, and `unreachable` says why.
    """
    ledger = _Ledger({}, [], (), None)
    brokers: tuple[BrokerStatus, ...] = ()
    if connections is not None:
        ledger = _ask_ledger(connections, enabled)
        brokers = tuple(_ask_broker(connections, broker, ledger) for broker in enabled or tuple(ledger.brokers))
    return SystemStatus(
        asked_at=datetime.now(UTC),
        home=home,
        run=run,
        unreachable=unreachable,
        database_error=ledger.error,
        processes=processes,
        stage_reports=tuple(ledger.reports),
        stops=ledger.stops,
        brokers=brokers,
        traders=ledger.traders,
        capital=ledger.capital,
    )


def _ask_ledger(connections: Connections, enabled: Sequence[Broker]) -> _Ledger:
    try:
        check_database(connections.engine)
        reports = Reports(connections.engine)
        followers = reports.statuses()
        facts = {}
        concerned = {*with_followers(followers), *enabled}
        for broker in (each for each in Broker if each in concerned):
            newest = reports.fills(broker, limit=1)
            facts[broker] = LedgerFacts(followers=followers.get(broker, {}), last_fill=newest[0] if newest else None)
        stops = StopStore(connections.engine).standing().stops
        traders = read_traders(connections, enabled, datetime.now(UTC))
        has_traded = any(each.account is not None for each in traders.traders)
        stage_reports = recent_stage_reports(connections.engine, KEPT_SECONDS)
        capital = read_capital_facts(connections.engine, enabled)
        return _Ledger(facts, stage_reports, stops, None, traders if has_traded else None, capital)
    except (DatabaseUnavailable, DatabaseUnusable, SchemaOutdated) as error:
        return _Ledger({}, [], (), str(error))


def _ask_broker(connections: Connections, broker: Broker, ledger: _Ledger) -> BrokerStatus:
    pipeline: Pipeline | None = None
    redis_error = None
    try:
        pipeline = read_pipeline(connections.redis_of(broker), broker)
    except (RedisError, OSError) as error:
        redis_error = str(error) or type(error).__name__
    facts = None if ledger.error else ledger.brokers.get(broker, _NO_FACTS)
    debts = () if redis_error or ledger.error else _debts(connections, broker)
    return BrokerStatus(broker=broker, pipeline=pipeline, redis_error=redis_error, ledger=facts, debts=debts)


def _debts(connections: Connections, broker: Broker) -> tuple[Debt, ...]:
    """The exits that are owed. A server that answered a moment ago and does not answer now is found at the next call."""
    with contextlib.suppress(RedisError, OSError, DatabaseUnavailable):
        return read_debts(connections, broker)
    return ()
