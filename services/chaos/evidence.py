"""Collects what a run has left behind: the ledger, the mailboxes, and the paper broker's own log and journal."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from redis.asyncio import Redis
from sqlalchemy import Engine, text

from services.chaos.inject import Done
from services.chaos.invariants import Evidence
from services.chaos.plan import Kind
from services.demo.accounts import MASTER, DemoAccounts
from services.demo.as_they_are import REFUSED_KEY
from services.demo.audit import BrokerOrder
from services.demo.broker_log import LoggedFill, id_in_log, read_balances, read_log
from services.demo.figures import moments_of_fills
from services.demo.own_coins import fee_doubt, own_coins_sold
from services.demo.right_copies import Conditions, compare_special
from shared.brokers.registry import profile_of
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.identity import Broker, FollowerId
from shared.domain.instrument import Instrument
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import transaction
from shared.persistence.followers.store import FollowerStore
from shared.persistence.reports.reports import FillReport, Reports

DEFAULT_LIMITS = OpenLimits()
DISTURBED = Conditions(disturbed=True)
_FINALS = text(
    "SELECT copy_order_id, count(*) AS finals FROM order_events WHERE broker = :broker AND outcome IS NOT NULL"
    " GROUP BY copy_order_id"
)
_WAITS = text("""
    SELECT d.decided_at, e.occurred_at, d.follower_id = :refused AS is_refused FROM decisions d
    JOIN order_events e ON e.copy_order_id = d.copy_order_id AND e.outcome IS NOT NULL
    WHERE d.skip_reason IS NULL
""")


async def collect_evidence(
    broker: Broker,
    paper_url: str,
    engine: Engine,
    redis: Redis,
    journal: Path,
    limits: OpenLimits = DEFAULT_LIMITS,
    accounts: DemoAccounts | None = None,
    conditions: Conditions = DISTURBED,
) -> Evidence:
    """Read everything of one broker. `limits`: those that the workers ran with.

    `accounts`: what followers held before, and what is right for special ones; None: that is not compared.
    `conditions`: what excuses special ones. The system must have settled before. Raises one of the demo's AWAY.
    """
    keys, reports = BrokerKeys(broker), Reports(engine)
    async with aiohttp.ClientSession(paper_url) as session:
        orders = [BrokerOrder.model_validate(row) for row in await read_log(session, "orders")]
        fills = [LoggedFill.model_validate(row) for row in await read_log(session, "fills")]
        held_now = {} if accounts is None else await read_balances(session, accounts.coins_before)
    ledger_fills = reports.fills(broker, limit=1_000_000)
    instruments = [Instrument.model_validate_json(each) for each in await redis.hvals(keys.instruments)]
    followers = await asyncio.to_thread(FollowerStore(engine).roster, broker)
    copies = reports.copies(broker)
    doubt = fee_doubt(instruments, profile_of(broker).fee_doubt_lots)
    special = {}
    if accounts is not None:
        special = compare_special(
            accounts.specials,
            accounts.held_before,
            ledger_fills,
            copies,
            orders,
            moments_of_fills(broker, ledger_fills, fills),
            {each.symbol: each for each in instruments},
            conditions._replace(prices_by_name=profile_of(broker).prices_by_name),
            profile_of(broker).fee_doubt_lots,
        )
    return Evidence(
        followers={follower.follower_id: follower.joined_sequence for follower in followers},
        master_fills=frozenset(fill.fill_id for fill in fills if fill.account == MASTER),
        ledger_fills={id_in_log(broker, fill.fill_id): fill.sequence for fill in ledger_fills},
        copies=copies,
        finals=_finals(engine, broker),
        orders=[order for order in orders if order.account != MASTER],
        positions=reports.positions(broker, closed=True),
        redis_positions=await _redis_positions(redis, keys),
        mailboxes={
            _name(key, keys.mailbox_prefix): int(await redis.llen(key))
            async for key in redis.scan_iter(match=f"{keys.mailbox_prefix}*", count=1000)
        },
        dead_letters=int(await redis.xlen(keys.dead_letters)) + int(await redis.xlen(keys.event_dead_letters)),
        nonces=await asyncio.to_thread(_nonces, journal),
        highest_prices=_highest_prices(ledger_fills, instruments, limits),
        lots=_lots(instruments, profile_of(broker).fee_doubt_lots),
        special=special,
        own_coins_sold={} if accounts is None else own_coins_sold(accounts.coins_before, fills, held_now, doubt),
    )


def _lots(instruments: Sequence[Instrument], doubt: int) -> dict[str, Decimal]:
    """By asset, the largest lot of its pairs, times `doubt`."""
    lots: dict[str, Decimal] = {}
    for each in instruments:
        base = each.symbol.base
        lots[base] = max(each.lot * doubt, lots.get(base, each.lot))
    return lots


def _highest_prices(
    fills: Sequence[FillReport], instruments: Sequence[Instrument], limits: OpenLimits
) -> dict[int, Decimal]:
    by_symbol = {each.symbol: each for each in instruments}
    return {fill.sequence: limits.highest_price(by_symbol[fill.symbol], fill.price) for fill in fills}


def recovery_seconds(engine: Engine, injections: Sequence[Done]) -> dict[str, list[float]]:
    """By kind, the seconds that each injection delayed the orders decided before it; 0 if it delayed none.

    The exits of the follower whose key is refused wait for the key. They count for that injection only.
    """
    with transaction(engine) as connection:
        rows = connection.execute(_WAITS, {"refused": REFUSED_KEY.name}).all()
    waits = {
        is_refused: [(row.decided_at, row.occurred_at) for row in rows if row.is_refused is is_refused]
        for is_refused in (True, False)
    }
    found: dict[str, list[float]] = defaultdict(list)
    for each in injections:
        found[each.kind.value].append(_held_up(each.at, waits[each.kind is Kind.REFUSE_KEY]))
    return found


def _held_up(at: datetime, waits: Sequence[tuple[datetime, datetime]]) -> float:
    return max(((ended - at).total_seconds() for decided, ended in waits if decided <= at < ended), default=0.0)


def _finals(engine: Engine, broker: Broker) -> dict[str, int]:
    with transaction(engine) as connection:
        rows = connection.execute(_FINALS, {"broker": broker.value}).all()
    return {row.copy_order_id: row.finals for row in rows}


async def _redis_positions(redis: Redis, keys: BrokerKeys) -> dict[tuple[FollowerId, str], Decimal]:
    found: dict[tuple[FollowerId, str], Decimal] = {}
    async for key in redis.scan_iter(match=f"{keys.positions_prefix}*", count=1000):
        for asset, stored in (await redis.hgetall(key)).items():
            position = CopiedPosition.model_validate_json(stored)
            found[FollowerId(_name(key, keys.positions_prefix)), _text(asset)] = position.quantity
    return found


def _name(key: bytes, prefix: str) -> str:
    return key.decode().removeprefix(prefix)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _nonces(journal: Path) -> dict[str, list[int]]:
    accepted: dict[str, list[int]] = defaultdict(list)
    with journal.open("rb") as lines:
        for line in lines:
            events: list[list[Any]] = orjson.loads(line)
            for event in events:
                if event[0] == "nonce":
                    accepted[event[1]].append(int(event[2]))
    return accepted
