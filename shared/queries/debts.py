"""Finds the exits that followers owe and that an order could sell now, and reports the late ones."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError

from shared.brokers.registry import profile_of
from shared.domain.accounts.price_list import NEVER
from shared.domain.amounts import ZERO, plain
from shared.domain.copying.debt import CarriedExit, Debt, sellable, smallest_order
from shared.domain.identity import Broker, FollowerId
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.price_list import LISTED_AT_FIELD, parse_price_list
from shared.persistence.ledger.carried_exits import CarriedExits, HeldAsset
from shared.persistence.reports.reports import PositionLine
from shared.queries.connections import Connections
from shared.queries.findings import Finding, FindingKind

DEBTS_SHOWN: Final = 5
UNLISTED: Final = "the broker lists no pair to sell it in"


def read_debts(
    connections: Connections, broker: Broker, followers: Collection[FollowerId] | None = None
) -> tuple[Debt, ...]:
    """Return the debts of these followers or of all, the oldest first. Raises DatabaseUnavailable, RedisError, OSError.

    Minimums and prices are the last known ones. While a broker has listed nothing yet, there are no debts.
    """
    ledger = CarriedExits(connections.engine, broker)
    carried = ledger.all(followers)
    if not carried:
        return ()
    listed = _Listed(connections.redis_of(broker), broker, carried)
    if listed.is_empty:
        return ()
    owed: dict[HeldAsset, tuple[CarriedExit, Decimal]] = {}
    smallest: dict[HeldAsset, Decimal] = {}
    for each in carried:
        name, instrument = HeldAsset(each.follower_id, each.asset), listed.instrument_of(each)
        if instrument is None:
            owed[name] = each._replace(why=f"{each.why}; {UNLISTED}"), each.position.carried_exit
            smallest[name] = each.position.carried_exit
            continue
        price = listed.price_of(instrument.symbol) or (each.price if each.symbol == instrument.symbol else None)
        quantity = sellable(each.position, instrument, price)
        if quantity:
            owed[name], smallest[name] = (each, quantity), smallest_order(instrument, price)
    since = ledger.since(smallest)
    found = [
        Debt(
            follower_id=each.follower_id,
            asset=each.asset,
            owed=quantity,
            since=since.get(name, each.occurred_at),
            sequence=each.sequence,
            why=each.why,
        )
        for name, (each, quantity) in owed.items()
    ]
    return tuple(sorted(found, key=lambda debt: (debt.since, debt.follower_id, debt.asset)))


def debt_findings(broker: Broker, debts: Sequence[Debt], now: datetime) -> Iterator[Finding]:
    """The debts that are older than 10 s: the oldest ones, and how many more there are."""
    late = [debt for debt in debts if debt.is_late(now)]
    for debt in late[:DEBTS_SHOWN]:
        message = (
            f"{debt.follower_id} owes an exit of {plain(debt.owed)} {debt.asset} since "
            f"{debt.since:%Y-%m-%d %H:%M:%S} UTC (fill {debt.sequence}: {debt.why}). The next exit of {debt.asset} sells "
            "it. If the master has none left to sell, sell it at the broker, then run `nija reconcile --repair`"
        )
        yield Finding(kind=FindingKind.EXIT_OWED, broker=broker, subject=debt.follower_id, message=message)
    more = len(late) - DEBTS_SHOWN
    if more > 0:
        message = f"{more} more {'exit is' if more == 1 else 'exits are'} owed (`nija positions --owed`)"
        yield Finding(kind=FindingKind.EXIT_OWED, broker=broker, subject="followers", message=message)


def with_debts(connections: Connections, positions: Sequence[PositionLine]) -> list[PositionLine]:
    """Add what is owed. If Redis does not answer, it stays unknown for positions with a carried exit.

    Raises DatabaseUnavailable.
    """
    carrying: dict[Broker, set[FollowerId]] = {}
    for each in positions:
        if each.carried_exit:
            carrying.setdefault(each.broker, set()).add(each.follower_id)
    debts: dict[tuple[Broker, FollowerId, str], Debt] = {}
    unknown = set()
    for broker, followers in carrying.items():
        try:
            found = read_debts(connections, broker, followers)
        except (RedisError, OSError):
            unknown.add(broker)
            continue
        debts |= {(broker, debt.follower_id, debt.asset): debt for debt in found}
    return [
        each
        if each.carried_exit and each.broker in unknown
        else _with_debt(each, debts.get((each.broker, each.follower_id, each.asset)))
        for each in positions
    ]


def _with_debt(position: PositionLine, debt: Debt | None) -> PositionLine:
    if debt is None:
        return position.model_copy(update={"owed": ZERO})
    return position.model_copy(update={"owed": debt.owed, "owed_since": debt.since, "owed_because": debt.why})


class _Listed:
    """The last known instruments and prices of the pairs in which carried exits can be sold."""

    def __init__(self, redis: Redis, broker: Broker, carried: Sequence[CarriedExit]) -> None:
        keys = BrokerKeys(broker)
        self._cash = profile_of(broker).cash_currencies
        of_asset = {(each.asset, each.symbol): each for each in carried}
        self._pairs = {name: self._pairs_of(each) for name, each in of_asset.items()}
        wanted = sorted({pair for pairs in self._pairs.values() for pair in pairs})
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(keys.instruments)
            pipeline.hmget(keys.instruments, wanted)
            pipeline.hmget(keys.prices, [LISTED_AT_FIELD, *wanted])
            replies: list[Any] = pipeline.execute()
        exists, instruments, prices = replies
        self.is_empty = not exists
        self._instruments: Mapping[Symbol, Instrument] = {
            pair: instrument
            for pair, text in zip(wanted, instruments, strict=True)
            if text is not None and (instrument := _instrument(text)) is not None
        }
        stored = zip([LISTED_AT_FIELD, *wanted], prices, strict=True)
        self._prices = parse_price_list({field: text for field, text in stored if text is not None}).since(NEVER)

    def instrument_of(self, carried: CarriedExit) -> Instrument | None:
        """The pair of the last exit if it sells the asset, else the first listed pair of the asset against cash."""
        found = (self._instruments.get(pair) for pair in self._pairs[carried.asset, carried.symbol])
        return next((each for each in found if each is not None and each.lot > 0), None)

    def price_of(self, symbol: Symbol) -> Decimal | None:
        return self._prices.get(symbol)

    def _pairs_of(self, carried: CarriedExit) -> list[Symbol]:
        of_exit = [carried.symbol] if carried.symbol.base == carried.asset else []
        return [*of_exit, *(Symbol(carried.asset, quote) for quote in self._cash)]


def _instrument(text: str) -> Instrument | None:
    """None: a newer version wrote it. A finding of its own says so."""
    try:
        return Instrument.model_validate_json(text)
    except ValidationError:
        return None
