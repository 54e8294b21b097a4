"""Collects what the demo found: the ledger's side compared with the paper broker's side."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import aiohttp
from sqlalchemy import Engine, text

from services.demo.accounts import MASTER, DemoAccounts
from services.demo.audit import AuditReport, BrokerFill, BrokerOrder, audit
from shared.domain.amounts import ZERO
from shared.domain.identity import Broker, MasterAccount
from shared.persistence.database import transaction
from shared.persistence.reports.reports import FillReport, ReasonCount, Reports, StageLatency

_PAGE = 5_000
_ALL = 1_000_000
_ADDED_UP = (
    "fills",
    "planned",
    "copied",
    "skipped",
    "failed",
    "pending",
    "missing",
    "duplicates",
    "cut",
    "mismatched",
    "open_positions",
    "own_coins_touched",
)


Latencies = Mapping[str, StageLatency]


class Figures:
    """What was found at one broker: everything that the last screen and `--json` show of it."""

    def __init__(
        self,
        followers: int,
        fills: list[FillReport],
        audited: AuditReport,
        reasons: list[ReasonCount],
        latency_ms: Latencies,
        coins_touched: list[str],
    ) -> None:
        self.followers = followers
        self.fills = fills
        self.audited = audited
        self.reasons = reasons
        self.latency_ms = latency_ms
        self.coins_touched = coins_touched
        """Followers whose own coins, held before, are not there any more."""

    @property
    def is_sound(self) -> bool:
        found = self.audited
        errors = found.missing + found.duplicates + found.mismatched + found.pending + found.failed
        return errors == 0 and not self.coins_touched and found.max_position_error_lots < 1

    def as_json(self) -> dict[str, Any]:
        found = self.audited
        return {
            "followers": self.followers,
            "fills": len(self.fills),
            "planned": found.planned,
            "copied": found.copied,
            "skipped": found.skipped,
            "failed": found.failed,
            "pending": found.pending,
            "missing": found.missing,
            "duplicates": found.duplicates,
            "cut": found.cut,
            "mismatched": found.mismatched,
            "max_position_error_lots": float(round(found.max_position_error_lots, 6)),
            "open_positions": found.open_positions,
            "own_coins_touched": len(self.coins_touched),
            "skip_reasons": {reason.reason: reason.count for reason in self.reasons if reason.outcome == "skipped"},
            "latency_ms": latency_as_json(self.latency_ms),
        }


def latency_as_json(latency_ms: Latencies) -> dict[str, dict[str, float | None]]:
    return {stage: {"p50": latency.p50, "p99": latency.p99} for stage, latency in latency_ms.items()}


def result_as_json(figures: Mapping[Broker, Figures], latency_ms: Latencies) -> dict[str, Any]:
    """All brokers together, and each by itself under `brokers`.

    `followers` are those of each master and `fills` those of all masters, so that followers × fills is the sum of
    copied, skipped, failed and pending.
    """
    per_broker = {broker.value: found.as_json() for broker, found in figures.items()}
    together: dict[str, Any] = {"followers": max(found["followers"] for found in per_broker.values())}
    for name in _ADDED_UP:
        together[name] = sum(found[name] for found in per_broker.values())
    together["max_position_error_lots"] = max(found["max_position_error_lots"] for found in per_broker.values())
    together["latency_ms"] = latency_as_json(latency_ms)
    return together | {"brokers": per_broker}


async def collect(
    broker: Broker, paper_url: str, engine: Engine, lots: dict[str, Decimal], accounts: DemoAccounts
) -> Figures:
    """Read both sides and compare them."""
    reports = Reports(engine)
    fills = reports.fills(broker, limit=_ALL)
    async with aiohttp.ClientSession(paper_url) as session:
        orders = [BrokerOrder.model_validate(row) for row in await read_log(session, "orders")]
        broker_fills = [BrokerFill.model_validate(row) for row in await read_log(session, "fills")]
        touched = [
            name
            for name, coins in accounts.coins_before.items()
            if coins and not await _still_holds(session, name, coins)
        ]
    audited = audit(
        fills,
        reports.copies(broker),
        [order for order in orders if order.account != MASTER],
        broker_fills,
        master_account=MasterAccount(MASTER),
        followers=len(accounts.followers),
        equity_before=_equity_before(engine, broker),
        lots=lots,
    )
    return Figures(
        followers=len(accounts.followers),
        fills=sorted(fills, key=lambda fill: fill.sequence),
        audited=audited,
        reasons=reports.reasons(broker),
        latency_ms=reports.latency(broker, limit=_ALL),
        coins_touched=touched,
    )


def _equity_before(engine: Engine, broker: Broker) -> dict[int, Decimal]:
    query = text(
        "SELECT sequence, master_equity_before FROM master_fills WHERE broker = :broker AND master_equity_before IS NOT NULL"
    )
    with transaction(engine) as connection:
        return dict(connection.execute(query, {"broker": broker.value}).tuples().all())


async def read_log(session: aiohttp.ClientSession, name: str) -> list[dict[str, Any]]:
    """All rows of one of the paper broker's logs, `orders` or `fills`, oldest first."""
    rows: list[dict[str, Any]] = []
    while True:
        query = {"since_sequence": str(len(rows)), "limit": str(_PAGE)}
        async with session.get(f"/paper/{name}", params=query) as reply:
            reply.raise_for_status()
            page = (await reply.json())[name]
        rows.extend(page)
        if len(page) < _PAGE:
            return rows


async def _still_holds(session: aiohttp.ClientSession, name: str, coins: dict[str, Decimal]) -> bool:
    async with session.get(f"/paper/accounts/{name}") as reply:
        reply.raise_for_status()
        balances = (await reply.json())["balances"]
    return all(Decimal(balances.get(coin, {}).get("total", ZERO)) >= amount for coin, amount in coins.items())
