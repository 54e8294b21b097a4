"""Watches one master account: polls it, records and publishes its fills, and keeps the listings up to date.

The results are numbered fills in the ledger and in the stream. Every step may be interrupted at any point, because
`begin` continues from what the ledger has.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic
from typing import Final, NamedTuple

import structlog
from redis.asyncio import Redis

from services.master_trader.alert import alert_clock, alert_unpriced
from services.master_trader.copies import without_copies
from services.master_trader.held_sales import HeldSales, closable_assets, unsure
from services.master_trader.identify import identify
from services.master_trader.list_instruments import list_instruments
from services.master_trader.master_prices import MasterPriceList
from services.master_trader.poll import Reading, Sighting
from services.master_trader.progress import OVERLAP, Progress
from services.master_trader.publish import publish_recorded
from services.master_trader.report import Report
from services.master_trader.report_holdings import report_holdings
from services.master_trader.unwind import before_held_opens
from services.master_trader.valuation import Valuation
from shared.brokers.errors import BrokerError, KeyRefused, Throttled
from shared.brokers.port.account import BrokerAccount, HasFeeRates, LearnsFees, SearchesForFills
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.accounts.equity import DOLLARS
from shared.domain.accounts.master_value import UnknownEquity
from shared.domain.accounts.price_list import PriceLists
from shared.domain.accounts.refused_key import RefusedKey
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.fill import AccountFill
from shared.domain.identity import MasterAccount, mailbox_of_master
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol
from shared.messaging.alerts import ALERT_LASTS, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.refused_keys import RefusedKeys
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill

INSTRUMENTS_SECONDS: Final = 3600.0
INSTRUMENTS_RETRY_SECONDS: Final = 60.0
FEES_SECONDS: Final = 3600.0
"""Tiers follow the trading volume of a month."""
REPORT_SECONDS: Final = 1.0
LATE_PURCHASE_SECONDS: Final = 3.0
"""How long a sale that the books do not explain is held back. `held_sales.py` describes why."""

log = structlog.get_logger()


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Master:
    """A master account, and everything that is needed to watch it."""

    name: MasterAccount
    credentials: Credentials
    connect: Callable[[], BrokerConnection]
    """Returns a connection that is not open yet."""
    ledger: MasterFills
    redis: Redis
    keys: BrokerKeys
    report: Report
    price_lists: PriceLists
    """The price list of the broker."""
    named_values: Mapping[str, Decimal | None] = field(default_factory=dict)
    """US dollars per unit of assets, named by the operator. None means: leave the asset out."""
    address: str = "direct"
    """The name of the egress address, without a password."""
    late_purchase_seconds: float = LATE_PURCHASE_SECONDS
    now: Callable[[], datetime] = utc_now


class Reach(NamedTuple):
    """The open connection and the account."""

    connection: BrokerConnection
    account: BrokerAccount


class Watch:
    """Watches one account. `begin` and `poll` raise every error. After an error, call `begin` again."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._progress: Progress | None = None
        self._reach: Reach | None = None
        self._instruments_due_seconds = 0.0
        self._missed_due_seconds = 0.0
        self._held_sales = HeldSales(master.late_purchase_seconds)
        routes = profile_of(master.keys.broker).price_routes
        price_list = MasterPriceList(master.price_lists, routes, master.named_values)
        self._valuation = Valuation(price_list, self._held_sales, self._broker_now)
        self._shown_fees: dict[str, AccountFill] = {}
        """The fills of the last poll by id, as they were recorded."""
        self._unlisted: set[str] | None = None
        """Held coins that the markets did not contain at the last valuation of the account; None before the first one.
        """
        self._report_due_seconds = 0.0
        self._fees_due_seconds = 0.0
        self._advance_due = False
        self._refused_keys = RefusedKeys(master.redis, master.keys, master.address)
        self._key_hash = key_hash(master.credentials.api_key)
        self._refused: RefusedKey | None = None

    async def key_refused(self, error: KeyRefused) -> None:
        """Note that the broker refused the key. A master is never disabled. Raises RedisError."""
        self._refused = (await self._refused_keys.refused(self._account, self._key_hash, str(error), trading=False)).run

    async def key_accepted(self) -> None:
        """Note that the broker accepted the key. Raises RedisError."""
        await self._refused_keys.accepted(self._account, self._refused, trading=False)
        self._refused = None

    @property
    def _account(self) -> str:
        return mailbox_of_master(self._master.name)

    async def begin(self) -> None:
        """Publish what an earlier process left, load the markets, and continue from the checkpoint."""
        master = self._master
        self._progress = None
        self._report_due_seconds = 0.0
        self._valuation.begin()
        self._refused = await self._refused_keys.of(self._account, self._key_hash)
        # First, because it needs no broker: recorded fills must not wait for a broker that is down.
        await publish_recorded(master.redis, master.keys, master.ledger, master.now)
        reach = self._reach or await self._open()
        # After every error again: Redis may have come back without them.
        await list_instruments(master.redis, master.keys, reach.connection.instruments())
        await self._take_up(reach.account)

    async def _take_up(self, account: BrokerAccount) -> None:
        """Continue from the checkpoint, once it is known whose account the key opens."""
        master, broker = self._master, self._master.keys.broker
        await asyncio.to_thread(master.ledger.watch, broker, master.name, master.now())
        identities, alerts = master.ledger.identities, Alerts(master.redis, master.keys)
        await identify(account, self._key_hash, identities, alerts, master.keys, master.name, master.now())
        checkpoint = await asyncio.to_thread(master.ledger.watch, broker, master.name, master.now())
        since = max(checkpoint.read_until - OVERLAP, checkpoint.watched_since)
        known = await asyncio.to_thread(master.ledger.known_fill_ids, broker, master.name, since)
        # Again: a process that has lost its lease may have recorded fills meanwhile, and known fills are never new.
        await publish_recorded(master.redis, master.keys, master.ledger, master.now)
        self._progress = Progress(checkpoint.watched_since, checkpoint.read_until, known, monotonic())

    async def poll(self) -> int:
        """Poll the account once, and record and publish new fills. Return their number.

        The account itself is read after that, if it is due.
        """
        reach, progress = self._reach, self._progress
        if reach is None or progress is None:
            raise RuntimeError("begin() comes before poll()")
        polled_at_seconds = monotonic()
        fills, reading = await self._valuation.poll(reach.account, progress.since)
        seen = self._valuation.sight(reach.connection, fills, progress.known, progress.watched_since)
        if any(each.fill.symbol not in reach.connection.instruments() for each in seen.new) and self._may_ask():
            # The symbol may have been listed since the markets were loaded. If its fill were published now, it would be
            # skipped for every follower. An error of the broker interrupts the watch, and a later poll finds the fill.
            await self._load_again(reach)
            return 0
        await self._correct_fees(fills)
        sighting = await without_copies(seen, self._master.ledger, self._master.redis, self._master.keys)
        sighting = await self._without_unexplained_sales(reach, self._without_held_opens(sighting), fills)
        published = await self._publish(sighting.new)
        if progress.learn(sighting, polled_at_seconds):
            self._advance_due = True
        # Fills that the search has not found yet may be older. The next process must begin before them.
        if self._advance_due and not (isinstance(reach.account, SearchesForFills) and reach.account.is_searching):
            await asyncio.to_thread(
                self._master.ledger.advance, self._master.keys.broker, self._master.name, progress.read_until
            )
            self._advance_due = False
        await self._read_what_is_due(reach, seen, fills, reading)
        await self._report(progress, sighting, published)
        if monotonic() >= self._fees_due_seconds:
            await self._read_fees(reach.account)
        if monotonic() >= self._instruments_due_seconds:
            await self._reload_instruments(reach)
        return len(sighting.new)

    async def _publish(self, new: Sequence[ObservedFill]) -> int | None:
        """Record the fills and publish them; return the last one's number, None: none."""
        master = self._master
        if not new:
            return None
        recorded = await asyncio.to_thread(master.ledger.record, master.keys.broker, master.name, new, master.now())
        published = await publish_recorded(master.redis, master.keys, master.ledger, master.now)
        # The followers hold these assets from now on, and the next fill asks what they are worth.
        await master.price_lists.need(
            frozenset(asset for each in new for asset in each.fill.symbol.currencies if asset) - DOLLARS
        )
        for fill in recorded:
            log.info(
                "fill published",
                sequence=fill.sequence,
                fill_id=fill.fill_id,
                symbol=fill.symbol,
                side=fill.side.value,
                quantity=str(fill.quantity),
                price=str(fill.price),
                trace_id=fill.trace_id,
            )
        return published

    async def _correct_fees(self, fills: Sequence[AccountFill]) -> None:
        """Correct the traded position where a fee turned out to be another one than the fill showed at first."""
        master = self._master
        for fill in fills:
            if self._shown_fees.get(fill.fill_id, fill) != fill:
                await asyncio.to_thread(master.ledger.correct_fee, master.keys.broker, master.name, fill)
        self._shown_fees = {fill.fill_id: fill for fill in fills}

    async def _without_unexplained_sales(
        self, reach: Reach, sighting: Sighting, fills: Sequence[AccountFill]
    ) -> Sighting:
        master = self._master
        sold = closable_assets(sighting.new)
        traded = (
            await asyncio.to_thread(master.ledger.traded_positions, master.keys.broker, master.name, sold)
            if sold
            else {}
        )
        held = self._held_sales.hold(
            sighting.new, fills, self._valuation.books, traded, unsure(reach.account, fills, sold), monotonic()
        )
        return sighting.without(held)

    def _without_held_opens(self, sighting: Sighting) -> Sighting:
        """Leave out the opens that wait for the master's equity. A later poll finds them again."""
        held = [
            observed.fill.fill_id for observed in sighting.new[before_held_opens(sighting.new, self._broker_now()) :]
        ]
        for fill_id in held:
            log.warning("open held: the master's equity is unknown", fill_id=fill_id)
        return sighting.without(held)

    def _broker_now(self) -> datetime:
        """The present time by the broker's clock, which dates its fills."""
        now = self._master.now()
        return now if self._reach is None else self._reach.connection.clock.at(now)

    async def close(self) -> None:
        """Close the connection to the broker."""
        reach, self._reach = self._reach, None
        if reach is not None:
            await reach.connection.close()

    async def _open(self) -> Reach:
        connection = self._master.connect()
        await connection.open()
        account = connection.account(self._master.credentials).at(Priority.WATCH)
        self._reach = Reach(connection, account)
        self._instruments_due_seconds = monotonic() + INSTRUMENTS_SECONDS
        return self._reach

    def _check_listing(self, connection: BrokerConnection, valued: AccountSnapshot) -> None:
        """Have the markets loaded again when the account holds a new coin that they do not contain.

        Perhaps it was listed since they were loaded. Binance reports fills by pair, so a fill of an unknown pair is not
        seen. The price list may have the coin already, because another connection reads it.
        """
        listed = {currency for symbol in connection.instruments() for currency in Symbol.parse(symbol).currencies}
        unlisted = valued.total.keys() - listed - DOLLARS
        is_new = self._unlisted is not None and not self._unlisted.issuperset(unlisted)
        if is_new and not self._may_ask():
            return  # the next valuation finds it again
        self._unlisted = set(unlisted)
        if is_new:
            self._instruments_due_seconds = 0.0

    async def _reload_instruments(self, reach: Reach) -> None:
        self._instruments_due_seconds = monotonic() + INSTRUMENTS_RETRY_SECONDS
        try:
            await self._load_again(reach)
        except BrokerError as error:
            log.warning("markets not loaded again; the old listing stays in use", error=str(error))

    async def _load_again(self, reach: Reach) -> None:
        # First: if the markets cannot be loaded, the next poll publishes what it finds.
        self._missed_due_seconds = monotonic() + INSTRUMENTS_RETRY_SECONDS
        # The account stays, with all that it has learnt: at Binance, a new one would search hundreds of pairs again.
        await reach.connection.reload()
        self._instruments_due_seconds = monotonic() + INSTRUMENTS_SECONDS
        await list_instruments(self._master.redis, self._master.keys, reach.connection.instruments())
        # Fills of new markets may be older than those that were published, and are newer than the checkpoint.
        await self._take_up(reach.account)

    def _may_ask(self) -> bool:
        """Whether the broker may be asked for its listing between the hourly rounds.

        The interval is limited, because a symbol that it lists nowhere would otherwise cause a request at each poll.
        """
        return monotonic() >= self._missed_due_seconds

    async def _read_fees(self, account: BrokerAccount) -> None:
        self._fees_due_seconds = monotonic() + FEES_SECONDS
        if not isinstance(account, HasFeeRates):
            return
        try:
            rates = await account.fee_rates()
        except BrokerError as error:
            # Nothing depends on it: the default of the table is used.
            log.info("fee tier not read", error=str(error))
            return
        if rates is not None:
            await self._master.report.fees(rates)

    async def _read_what_is_due(
        self, reach: Reach, seen: Sighting, fills: Sequence[AccountFill], reading: Reading | None
    ) -> None:
        """Read the account and the orders of new fills. `reading`: one that was taken at this poll already."""
        try:
            if isinstance(reach.account, LearnsFees):
                await reach.account.learn_fees()
            if reading is None and self._valuation.is_due:
                reading = await self._valuation.read(reach.account, fills)
        except Throttled as error:
            # It stays due. The polls go on, because they find the fills.
            log.info("account not read", error=str(error))
        alerts, until = Alerts(self._master.redis, self._master.keys), self._master.now() + ALERT_LASTS
        if reading is not None and self._valuation.has_prices:
            await self._master.report.equity(reading.account)
            await report_holdings(reach.account, reading, self._master.named_values, self._master.report)
            self._check_listing(reach.connection, reading.account)
            unpriced = set(reading.equity.unpriced) if isinstance(reading.equity, UnknownEquity) else set[str]()
            setting = f"{self._master.keys.broker.name}_MASTER_VALUES"
            await alert_unpriced(alerts, unpriced | self._valuation.still_unpriced(seen.new), setting, until)
        if reading is not None:
            await alert_clock(alerts, reach.connection.clock.offset_seconds, until)

    async def _report(self, progress: Progress, sighting: Sighting, published: int | None) -> None:
        if sighting.new or monotonic() >= self._report_due_seconds:
            await self._master.report.watching(watched_since=progress.watched_since, published_sequence=published)
            self._report_due_seconds = monotonic() + REPORT_SECONDS
