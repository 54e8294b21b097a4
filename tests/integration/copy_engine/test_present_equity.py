"""The engine sizes by what an account is worth now, and moves some bytes for each follower instead of all its coins."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from redis.asyncio import Redis

from shared.domain.accounts.snapshot import AccountSnapshot, AccountSummary
from shared.domain.symbol import Symbol
from shared.messaging.price_list import PriceListWriter
from tests.integration.copy_engine.engines import KEYS, NAMES, Engine, mail, publish
from tests.support.examples import a_fill, a_follower
from tests.support.prices import store_accounts

FOLLOWER = NAMES[0]
FOLLOWERS = [f"many-{number}" for number in range(1_000)]
BYTES_OF_A_FOLLOWER = 200


def read_ago(minutes: float, **total: str) -> AccountSnapshot:
    """A reading whose equity counts only dollars: every coin has become worth something since."""
    totals = {asset: Decimal(quantity) for asset, quantity in total.items()}
    taken_at = datetime.now(UTC) - timedelta(minutes=minutes)
    return AccountSnapshot(
        equity=totals["USD"], cash=totals["USD"], free=totals, total=totals, unpriced=("ETH",), taken_at=taken_at
    )


async def list_prices(redis: Redis, **dollars: str) -> None:
    prices = {Symbol(asset, "USD"): Decimal(price) for asset, price in dollars.items()}
    await PriceListWriter(redis, KEYS).write(prices, datetime.now(UTC))


async def ordered(redis: Redis) -> list[Decimal | None]:
    return [order.quantity for order in await mail(redis, FOLLOWER)]


async def test_a_reading_that_is_old_is_worth_what_its_coins_are_worth_now(redis: Redis) -> None:
    """4 minutes ago, 1,000 dollars and 2 ETH were read. ETH is worth 2,000 dollars, and 4,500 dollars a moment later.

    The master buys 0.01 BTC with an equity of 100,000 dollars.
    """
    engine = Engine(redis, [a_follower(FOLLOWER)])
    await engine.shards.balance()
    await store_accounts(redis, KEYS, {FOLLOWER: read_ago(4, USD="1000", ETH="2")})
    await publish(redis, a_fill(sequence=1, quantity="0.01", price="50000"))
    await engine.catch_up(1)
    await list_prices(redis, ETH="2000")
    await publish(redis, a_fill(sequence=2, fill_id="T2", quantity="0.01", price="50000"))
    await engine.catch_up(2)
    without_list, at_first = await ordered(redis)
    assert without_list is not None
    assert at_first == 5 * without_list


async def test_own_fills_since_the_reading_count(redis: Redis) -> None:
    """The follower bought 1 ETH for 1,000 dollars since the reading, and ETH doubled."""
    engine = Engine(redis, [a_follower(FOLLOWER)])
    await engine.shards.balance()
    account = read_ago(4, USD="1000")
    await store_accounts(redis, KEYS, {FOLLOWER: account})
    await list_prices(redis, ETH="2000")
    await publish(redis, a_fill(sequence=1, quantity="0.01", price="50000"))
    await engine.catch_up(1)
    moved = AccountSummary.of(account).model_copy(update={"moved": {"ETH": Decimal(1), "USD": Decimal(-1000)}})
    await redis.hset(KEYS.account_summaries, FOLLOWER, moved.model_dump_json())
    await publish(redis, a_fill(sequence=2, fill_id="T2", quantity="0.01", price="50000"))
    await engine.catch_up(2)
    before, after = await ordered(redis)
    assert before is not None
    assert after == 2 * before


async def test_a_fill_moves_few_bytes_for_each_follower_whatever_the_accounts_hold(redis: Redis) -> None:
    """1,000 followers with 50 coins. Only the first fill after a reading fetches what an account holds."""
    coins = {f"COIN{number}": "12345.67890123" for number in range(50)}
    account = read_ago(1, USD="1000", **coins)
    await store_accounts(redis, KEYS, dict.fromkeys(FOLLOWERS, account))
    inputs = Engine(redis, []).inputs
    sent: list[int] = []
    for _ in range(2):
        before = int((await redis.info("stats"))["total_net_output_bytes"])
        accounts, _carries = await inputs.accounts_and_carries(FOLLOWERS, Symbol("BTC", "USD"))
        assert all(each is not None and each.equity == 1000 for each in accounts)
        sent.append((int((await redis.info("stats"))["total_net_output_bytes"]) - before) // len(FOLLOWERS))
    assert sent[0] > 2_000
    assert sent[1] < BYTES_OF_A_FOLLOWER
