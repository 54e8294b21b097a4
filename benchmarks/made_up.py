"""Makes up the followers, accounts and fills that benchmarks work with."""

from datetime import UTC, datetime
from decimal import Decimal

from redis.asyncio import Redis

from shared.brokers.registry import EXAMPLE_BROKER
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.messaging.accounts import add_account
from shared.messaging.keys import BrokerKeys

BROKER = EXAMPLE_BROKER
INSTRUMENT = Instrument(
    broker=BROKER,
    symbol="BTC/USD",
    base="BTC",
    quote="USD",
    lot=Decimal("0.00000001"),
    price_tick=Decimal("0.1"),
    minimum_quantity=Decimal("0.00005"),
    minimum_cost=Decimal("0.5"),
)


def follower_ids(count: int) -> list[FollowerId]:
    return [FollowerId(f"follower-{number:05d}") for number in range(count)]


def followers(count: int) -> list[Follower]:
    return [Follower(broker=BROKER, follower_id=follower_id) for follower_id in follower_ids(count)]


def account(number: int) -> AccountSnapshot:
    """1,000 dollars and up."""
    dollars = Decimal(1000 + number)
    return AccountSnapshot(
        equity=dollars, cash=dollars, free={"USD": dollars}, total={"USD": dollars}, taken_at=datetime.now(UTC)
    )


async def store_accounts(redis: Redis, keys: BrokerKeys, count: int) -> None:
    """Write the readings of accounts as workers do."""
    async with redis.pipeline(transaction=True) as pipeline:
        for number, follower_id in enumerate(follower_ids(count)):
            add_account(pipeline, keys, follower_id, account(number))
        await pipeline.execute()


def fill(sequence: int) -> MasterFill:
    """Buys and full closes in turn, of a master with 100,000 dollars."""
    now = datetime.now(UTC)
    is_buy = sequence % 2 == 1
    return MasterFill(
        sequence=sequence,
        broker=BROKER,
        master_account="benchmark",
        fill_id=f"T{sequence}",
        order_id=f"O{sequence}",
        symbol=INSTRUMENT.symbol,
        side=Side.BUY if is_buy else Side.SELL,
        price=Decimal(40_000),
        quantity=Decimal("0.5"),
        cost=Decimal(20_000),
        fee=Decimal(52),
        fee_currency="USD",
        master_equity_before=Decimal(100_000),
        quote_price=Decimal(1),
        traded_position_before=Decimal(0) if is_buy else Decimal("0.5"),
        fraction_closed=Decimal(0) if is_buy else Decimal(1),
        executed_at=now,
        published_at=now,
        trace_id=f"benchmark-{sequence}",
    )
