"""Collects what the demo found: the ledger's side compared with the paper broker's side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import aiohttp
from sqlalchemy import Engine, text

from services.demo.accounts import MASTER, MASTER_DOLLARS, DemoAccounts, quote_currency
from services.demo.as_they_are import SpecialFollower
from services.demo.audit import AuditReport, BrokerOrder, audit
from services.demo.broker_log import LoggedFill, id_in_log, read_balances, read_log
from services.demo.market_moments import MarketMoment, moments
from services.demo.own_coins import fee_doubt, own_coins_sold
from services.demo.right_copies import Conditions, SpecialResult, compare_special
from shared.brokers.registry import profile_of
from shared.domain.identity import Broker, MasterAccount
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.reports.reports import CopyLine, FillReport, Reports, StageLatency

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


class AsTheyAre(NamedTuple):
    """The special followers of one broker: what is right for each, and what came."""

    specials: Sequence[SpecialFollower]
    results: Mapping[str, SpecialResult]
    audited: AuditReport
    """The comparison that plain followers pass, for the special ones. A copy that failed is judged by `results`."""
    doubt_lots: int

    @property
    def wrong(self) -> list[str]:
        """What came and what would have been right."""
        return [line for result in self.results.values() for line in result.wrong]

    @property
    def is_sound(self) -> bool:
        found = self.audited
        errors = found.missing + found.duplicates + found.mismatched + found.pending
        return errors == 0 and not self.wrong and found.max_position_error_lots < self.doubt_lots

    def as_json(self) -> dict[str, Any]:
        found = self.audited
        return {
            "followers": {special.name: self._of_one(special) for special in self.specials},
            "wrong": len(self.wrong),
            "failed": found.failed,
            "pending": found.pending,
            "missing": found.missing,
            "duplicates": found.duplicates,
            "mismatched": found.mismatched,
            "max_position_error_lots": float(round(found.max_position_error_lots, 6)),
        }

    def _of_one(self, special: SpecialFollower) -> dict[str, Any]:
        result = self.results[special.name]
        return {
            "right": special.right,
            "copies": result.copies,
            "right_copies": result.right,
            "came": dict(result.ends),
            "wrong": result.wrong,
        }


class Figures:
    """What was found at one broker: everything that the last screen and `--json` show of it."""

    def __init__(
        self,
        followers: int,
        fills: list[FillReport],
        audited: AuditReport,
        skip_reasons: Mapping[str, int],
        latency_ms: Latencies,
        coins_sold: Mapping[str, str],
        as_they_are: AsTheyAre,
        doubt_lots: int = 1,
    ) -> None:
        """`doubt_lots`: a position error below that may come from the way in which the broker rounds fees."""
        self.followers = followers
        """How many plain ones there are. `audited` and `skip_reasons` are of them."""
        self.fills = fills
        self.audited = audited
        self.skip_reasons = skip_reasons
        self.latency_ms = latency_ms
        self.coins_sold = coins_sold
        """By follower, plain or special, what happened to coins of its own that it held before."""
        self.as_they_are = as_they_are
        self._doubt_lots = doubt_lots

    @property
    def is_sound(self) -> bool:
        found = self.audited
        errors = found.missing + found.duplicates + found.mismatched + found.pending + found.failed
        is_plain_sound = errors == 0 and not self.coins_sold and found.max_position_error_lots < self._doubt_lots
        return is_plain_sound and self.as_they_are.is_sound

    @property
    def findings(self) -> list[str]:
        """Each copy that is wrong for its special follower, and each follower whose own coins were touched."""
        coins = [f"{name}: own coins: {what}" for name, what in self.coins_sold.items()]
        return [*self.as_they_are.wrong, *coins]

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
            "own_coins_touched": len(self.coins_sold),
            "skip_reasons": dict(self.skip_reasons),
            "as_they_are": self.as_they_are.as_json(),
            "latency_ms": latency_as_json(self.latency_ms),
        }


def latency_as_json(latency_ms: Latencies) -> dict[str, dict[str, float | None]]:
    return {stage: {"p50": latency.p50, "p99": latency.p99} for stage, latency in latency_ms.items()}


def result_as_json(figures: Mapping[Broker, Figures], latency_ms: Latencies) -> dict[str, Any]:
    """All brokers together, and each by itself under `brokers`.

    `followers` are the plain ones of each master and `fills` those of all masters, so that followers × fills is the sum
    of copied, skipped, failed and pending. The special followers are counted under `as_they_are`.
    """
    per_broker = {broker.value: found.as_json() for broker, found in figures.items()}
    together: dict[str, Any] = {"followers": max(found["followers"] for found in per_broker.values())}
    for name in _ADDED_UP:
        together[name] = sum(found[name] for found in per_broker.values())
    together["max_position_error_lots"] = max(found["max_position_error_lots"] for found in per_broker.values())
    together["as_they_are_wrong"] = sum(found["as_they_are"]["wrong"] for found in per_broker.values())
    together["latency_ms"] = latency_as_json(latency_ms)
    return together | {"brokers": per_broker}


async def collect(
    broker: Broker,
    paper_url: str,
    engine: Engine,
    instruments: Mapping[Symbol, Instrument],
    accounts: DemoAccounts,
    conditions: Conditions,
) -> Figures:
    """Read both sides and compare them."""
    reports = Reports(engine)
    fills, copies = reports.fills(broker, limit=_ALL), reports.copies(broker)
    async with aiohttp.ClientSession(paper_url) as session:
        orders = [BrokerOrder.model_validate(row) for row in await read_log(session, "orders")]
        log = [LoggedFill.model_validate(row) for row in await read_log(session, "fills")]
        held_now = await read_balances(session, accounts.coins_before)
    special_names = {special.name for special in accounts.specials}
    equity_before = _equity_before(engine, broker)
    doubt_lots = profile_of(broker).fee_doubt_lots

    def audited(*, special: bool) -> AuditReport:
        return audit(
            fills,
            [copy for copy in copies if (copy.follower_id in special_names) is special],
            [order for order in orders if order.account != MASTER and (order.account in special_names) is special],
            log,
            master_account=MasterAccount(MASTER),
            followers=len(accounts.special if special else accounts.plain),
            equity_before=equity_before,
            lots={symbol: each.lot for symbol, each in instruments.items()},
        )

    results = compare_special(
        accounts.specials,
        accounts.held_before,
        fills,
        copies,
        orders,
        moments_of_fills(broker, fills, log),
        instruments,
        conditions._replace(prices_by_name=profile_of(broker).prices_by_name),
        doubt_lots,
    )
    return Figures(
        followers=len(accounts.plain),
        fills=sorted(fills, key=lambda fill: fill.sequence),
        audited=audited(special=False),
        skip_reasons=_skip_reasons([copy for copy in copies if copy.follower_id not in special_names]),
        latency_ms=reports.latency(broker, limit=_ALL),
        coins_sold=own_coins_sold(accounts.coins_before, log, held_now, fee_doubt(instruments.values(), doubt_lots)),
        as_they_are=AsTheyAre(accounts.specials, results, audited(special=True), doubt_lots),
        doubt_lots=doubt_lots,
    )


def moments_of_fills(broker: Broker, fills: Sequence[FillReport], log: Sequence[LoggedFill]) -> dict[int, MarketMoment]:
    """The moment of each fill of the ledger that the broker's log has, by sequence."""
    by_id = moments(log, MASTER, {quote_currency(broker): MASTER_DOLLARS})
    found = {fill.sequence: by_id.get(id_in_log(broker, fill.fill_id)) for fill in fills}
    return {sequence: moment for sequence, moment in found.items() if moment is not None}


def _skip_reasons(copies: Sequence[CopyLine]) -> dict[str, int]:
    reasons = Counter[str]()
    for copy in copies:
        if copy.skip_reason is not None:
            reasons[copy.skip_reason] += 1
        elif copy.outcome == "skipped":
            reasons[copy.reason or "unknown"] += 1
    return dict(reasons.most_common())


def _equity_before(engine: Engine, broker: Broker) -> dict[int, Decimal]:
    query = text(
        "SELECT sequence, master_equity_before FROM master_fills WHERE broker = :broker AND master_equity_before IS NOT NULL"
    )
    with transaction(engine) as connection:
        return dict(connection.execute(query, {"broker": broker.value}).tuples().all())
