"""Tests state, margin, scaling, drawdown, buckets and history of real accounts at paper brokers."""

from datetime import timedelta
from decimal import Decimal

import pytest
from redis import Redis as BlockingRedis
from redis import RedisError

from shared.domain.capital.buckets import BucketName
from shared.domain.capital.drawdown import DrawdownState
from shared.domain.capital.margin import MarginZone, ZoneAction
from shared.domain.capital.scaling import AccountClass
from shared.domain.capital.state import CapitalStatus
from shared.domain.errors import InvalidAmount
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.queries.capital.accounts import choose_account, read_account
from shared.queries.capital.errors import AccountNotRead, NoSuchAccount
from shared.queries.capital.overview import (
    read_allocation,
    read_drawdown,
    read_history,
    read_margin,
    read_scaling,
    read_state,
)
from shared.queries.connections import Connections
from tests.support.running.capital_bench import CapitalBench


async def test_a_spot_account_uses_no_margin(spot: CapitalBench) -> None:
    """Its buying power is its free cash, the zone is GREEN, and the class is that of 5,000 dollars."""
    state = read_state(spot.sources, spot.name)
    assert (state.total_equity, state.available_balance, state.buying_power) == (5_000, 4_000, 4_000)
    assert (state.margin_used, state.margin_free_pct, state.positions) == (0, 80, 1)
    assert state.capital_status is CapitalStatus.HEALTHY
    margin = read_margin(spot.sources, spot.name)
    assert (margin.zone, margin.is_applicable, margin.can_open_new) == (MarginZone.GREEN, False, True)
    scaling = read_scaling(spot.sources, spot.name)
    assert (scaling.account_class, scaling.most_positions, scaling.risk_amount) == (AccountClass.LARGE, 15, 100)


async def test_a_margin_account_shows_what_its_positions_bind(margin: CapitalBench) -> None:
    """Shares for 12,000 bind 6,000 of 10,000 dollars: the YELLOW zone, in which no entry is allowed."""
    await margin.trade(Side.BUY, "AAPL/USD", "60")
    await margin.read()
    state, status = read_state(margin.sources, margin.name), read_margin(margin.sources, margin.name)
    assert abs(state.total_wallet_balance - 10_000) < 10
    assert abs(state.margin_used - 6_000) < 10
    assert state.buying_power == state.total_wallet_balance * 2
    assert state.capital_status is CapitalStatus.WARNING
    assert (status.zone, status.action) == (MarginZone.YELLOW, ZoneAction.NO_NEW_ENTRIES)
    assert not status.can_open_new


async def test_a_loss_of_a_margin_account_is_unrealized_and_leaves_the_wallet(margin: CapitalBench) -> None:
    """The shares fall by 10 %: the equity falls by 1,200, and the use of margin by a tenth."""
    await margin.trade(Side.BUY, "AAPL/USD", "60")
    margin.paper.pin_price("AAPL/USD", "180")
    await margin.read()
    state = read_state(margin.sources, margin.name)
    assert abs(state.unrealized_pnl + 1_200) < 10
    assert abs(state.total_wallet_balance - 10_000) < 10
    assert abs(state.total_equity - 8_800) < 10
    assert abs(state.margin_used_pct - 54) < 1


async def test_an_account_is_valued_by_the_present_prices(spot: CapitalBench) -> None:
    """The coin doubles after the reading. The state follows the price list, without a request for the account."""
    await spot.redis.hset(spot.keys.prices, "BTC/USD", "100000")
    assert read_state(spot.sources, spot.name).total_equity == 6_000


async def test_an_asset_without_a_price_makes_the_state_unknown(spot: CapitalBench) -> None:
    """It is reported by name, and the account is not shown as a smaller one."""
    # ETH/BTC and ETH/USD together are a price of bitcoin, too.
    await spot.redis.hdel(spot.keys.prices, "BTC/USD", "ETH/BTC")
    with pytest.raises(AccountNotRead, match="no current price of BTC"):
        read_state(spot.sources, spot.name)


async def test_the_drawdown_before_the_first_sample_is_that_of_a_new_account(spot: CapitalBench) -> None:
    """The present equity counts as the peak."""
    found = read_drawdown(spot.sources, spot.name)
    assert (found.state, found.peak, found.drawdown_pct) == (DrawdownState.NORMAL, 5_000, 0)
    assert (found.is_breaker_open, found.recorded_at, found.most_positions) == (False, None, 15)


async def test_buckets_of_a_spot_account(spot: CapitalBench) -> None:
    """1,000 of 5,000 are in bitcoin, so CORE lacks 1,500 and GROWTH all of its 1,500."""
    found = read_allocation(spot.sources, spot.name)
    buckets = {each.bucket: each for each in found.allocation.buckets}
    assert (buckets[BucketName.CORE].current_value, buckets[BucketName.CORE].is_off) == (1_000, True)
    assert buckets[BucketName.RESERVE].current_value == 4_000
    assert [(each.side, each.asset, each.value) for each in found.allocation.orders] == [
        (Side.BUY, "BTC", 1_500),
        (Side.BUY, "BNB", 1_500),
    ]


async def test_a_history_without_snapshots_is_empty(spot: CapitalBench) -> None:
    """No figure is made up. Hours beyond a week are refused."""
    found = read_history(spot.sources, spot.name, 24)
    assert (found.points, found.first, found.growth_pct) == ((), None, None)
    for hours in (0, 169, 10**12):
        with pytest.raises(InvalidAmount, match="hours"):
            read_history(spot.sources, spot.name, hours)


async def test_the_account_is_chosen_by_broker_and_name(spot: CapitalBench) -> None:
    """Without either, it is the only one. Wrong names are answered with the right ones."""
    connections = spot.sources.connections
    assert choose_account(connections) == choose_account(connections, Broker.KRAKEN, "master") == spot.name
    with pytest.raises(NoSuchAccount, match="accounts: kraken:master"):
        choose_account(connections, account="alice")
    with pytest.raises(RedisError):
        choose_account(connections, Broker.OKX)
    away = BlockingRedis.from_url("redis://127.0.0.1:1/0")
    with_trouble = Connections(connections.engine, {Broker.OKX: away, Broker.BINANCE: away, **connections.redis})
    assert choose_account(with_trouble) == spot.name, "the trouble of another broker does not count"
    with pytest.raises(RedisError):
        choose_account(with_trouble, account="alice")
    await spot.redis.delete(spot.keys.master)
    with pytest.raises(AccountNotRead, match="no master account has been read yet"):
        choose_account(connections)
    with pytest.raises(RedisError):
        choose_account(with_trouble)
    with pytest.raises(NoSuchAccount):
        read_account(connections, spot.name, spot.sources.now())


async def test_an_old_price_of_a_large_part_makes_the_equity_unknown(spot: CapitalBench) -> None:
    """A list of two hours ago is no present price."""
    two_hours = spot.sources.now() - timedelta(hours=2)
    await spot.redis.hset(spot.keys.prices, "*", two_hours.isoformat())
    with pytest.raises(AccountNotRead, match="BTC"):
        read_state(spot.sources, spot.name)
    assert Decimal(5_000) == Decimal((await spot.redis.hget(spot.keys.master, "equity")).decode())
