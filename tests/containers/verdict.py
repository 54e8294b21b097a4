"""Judges a project's copying when it has settled: the paper brokers' logs, the ledger and Redis must agree.

Two comparisons are made at each broker. `comparison.compare` looks at the broker's own log alone; the invariants of
`nija chaos` compare that log with nija's ledger, mailboxes and positions.
"""

import asyncio
import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text

from services.chaos.evidence import collect_evidence
from services.chaos.invariants import check
from services.demo.accounts import MASTER
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.identity import Broker
from shared.persistence.database import open_engine, transaction
from shared.persistence.errors import DatabaseUnavailable
from tests.containers.comparison import Execution, Skipped, compare, executions
from tests.containers.waiting import until

SETTLED_SECONDS = 240
POLL_SECONDS = 1.0
_SHOWN = 6
"""Examples of each broker in a message."""
_PAGE = 5_000
_AWAY = (DatabaseUnavailable, RedisError, OSError, psycopg.Error)
_SKIPPED = text("""
    SELECT d.follower_id, d.symbol, f.number FROM order_events e
    JOIN decisions d ON d.copy_order_id = e.copy_order_id
    JOIN (
        SELECT broker, sequence, row_number() OVER (PARTITION BY broker, symbol ORDER BY sequence) AS number
        FROM master_fills
    ) f ON f.broker = d.broker AND f.sequence = d.sequence
    WHERE d.broker = :broker AND e.outcome = 'skipped' AND e.reason = 'exit_followed'
""")
"""The opens that waited when Redis was replaced, and whose exit waited behind them: ADR 12 skips those."""
_COPIES = text("""
    SELECT count(*) AS copies, max(e.occurred_at) AS last FROM master_fills f
    JOIN decisions d ON d.broker = f.broker AND d.sequence = f.sequence AND d.skip_reason IS NULL
    JOIN order_events e ON e.copy_order_id = d.copy_order_id AND e.outcome IS NOT NULL
    WHERE f.broker = ANY(:brokers) AND f.executed_at >= :since AND f.executed_at < :until
""")


def paper_log(url: str, name: str) -> list[dict[str, Any]]:
    """All rows of a paper broker's log `orders` or `fills`, oldest first."""
    rows: list[dict[str, Any]] = []
    while True:
        page = _get(f"{url}/paper/{name}?since_sequence={len(rows)}&limit={_PAGE}")[name]
        rows += page
        if len(page) < _PAGE:
            return rows


def answers(url: str) -> bool:
    """Whether a paper broker answers."""
    try:
        return bool(_get(f"{url}/paper/health"))
    except OSError:
        return False


def wait_copied(url: str, shares: Mapping[str, Decimal], fills: int, seconds: float = SETTLED_SECONDS) -> None:
    """Wait until every fill of the master at a paper broker is copied once and in its size. Raises AssertionError."""

    def wrong() -> list[str]:
        done = executions(paper_log(url, "fills"))
        of_master = sum(each.account == MASTER for each in done)
        return [f"{of_master} fills of the master, not {fills}"] * (of_master != fills) + compare(done, MASTER, shares)

    until(lambda: not wrong(), f"the fills at {url} are copied", seconds, instead=wrong)


def is_known(accounts: str, followers: int) -> bool:
    """Whether so many followers' accounts were read, by the output of `nija accounts --json`. Opens need that."""
    shown = [account for account in json.loads(accounts) if account["role"] == "follower"]
    return len(shown) == followers and all(account["available_for_opens"] for account in shown)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310  loopback
        return json.load(reply)


class Copies(NamedTuple):
    """How many copies of some fills there must be, how many have ended, and when the last one ended."""

    wanted: int
    ended: int
    last: datetime | None


@dataclass(frozen=True)
class Ground:
    """Where everything is: the published ports of the paper brokers, and of the servers behind the gate."""

    paper_urls: Mapping[Broker, str]
    database_url: str
    redis_url: str
    shares: Mapping[str, Decimal]
    """By follower, its equity divided by the master's; the same at every broker."""
    open_limits: OpenLimits
    """Those that the workers run with."""
    nonces: Path
    """The journal of Kraken's paper broker, as far as it was copied here."""

    def executions(self, broker: Broker) -> list[Execution]:
        """What was executed at a broker, on the master's account and on the followers'."""
        return executions(paper_log(self.paper_urls[broker], "fills"))

    def settle(self, seconds: float = SETTLED_SECONDS) -> dict[Broker, list[str]]:
        """Wait until nothing is wrong any more, at most so long. Return what is wrong then, by broker; {} is good."""
        deadline = time.monotonic() + seconds
        while True:
            wrong = {broker: found[:_SHOWN] for broker, found in self._wrong().items() if found}
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(POLL_SECONDS)

    def _wrong(self) -> dict[Broker, list[str]]:
        found: dict[Broker, list[str]] = {}
        for broker in self.paper_urls:
            try:
                found[broker] = compare(self.executions(broker), MASTER, self.shares, self._skipped(broker))
                found[broker] += asyncio.run(self._broken_promises(broker))
            except _AWAY as error:
                found[broker] = [f"not read: {error}"]
        return found

    def _skipped(self, broker: Broker) -> Skipped:
        engine = open_engine(self.database_url, pool_size=1)
        try:
            with transaction(engine) as connection:
                rows = connection.execute(_SKIPPED, {"broker": broker.value}).all()
        finally:
            engine.dispose()
        numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
        for row in rows:
            numbers[row.follower_id, row.symbol].add(row.number)
        return numbers

    async def _broken_promises(self, broker: Broker) -> list[str]:
        engine, redis = open_engine(self.database_url, pool_size=1), Redis.from_url(self.redis_url, socket_timeout=10)
        try:
            seen = await collect_evidence(broker, self.paper_urls[broker], engine, redis, self.nonces, self.open_limits)
        finally:
            await redis.aclose()
            engine.dispose()
        broken = {name: examples for name, (times, examples) in check(seen).violations.items() if times}
        return [f"{name}: {', '.join(examples)}" for name, examples in broken.items()]

    def copies(self, brokers: Sequence[Broker], since: datetime, until: datetime) -> Copies | None:
        """The copies of the masters' fills of that time, by the ledger; None while a server is away."""
        first, end = (int(moment.timestamp() * 1_000_000) for moment in (since, until))
        asked = {"brokers": [broker.value for broker in brokers], "since": since, "until": until}
        engine = open_engine(self.database_url, pool_size=1)
        try:
            fills = sum(
                each.account == MASTER and first <= each.executed_at < end
                for broker in brokers
                for each in self.executions(broker)
            )
            with transaction(engine) as connection:
                found = connection.execute(_COPIES, asked).one()
        except _AWAY:
            return None
        finally:
            engine.dispose()
        return Copies(fills * len(self.shares), found.copies, found.last if fills else since)

    def copied_at(self, brokers: Sequence[Broker], since: datetime, until: datetime) -> datetime | None:
        """When the last of these copies ended; None while some are missing."""
        found = self.copies(brokers, since, until)
        return None if found is None or found.ended < found.wanted else found.last
