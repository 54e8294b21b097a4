"""Tests that each fill of a master is published once and in order, wherever a process dies.

The steps of a master, its broker and two processes are played in any order, against the world of `master_world`.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.local_system.embedded_postgres import PostgresServer
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import ObservedFill
from tests.property.master_world import KEYS, World, check


@pytest.fixture(scope="module")
def stream_url(redis_url: str) -> str:
    """The Redis of this test run, without the stream of this module's broker."""

    async def clear() -> None:
        async with Redis.from_url(redis_url) as redis:
            await redis.delete(KEYS.fills)

    asyncio.run(clear())
    return redis_url


@pytest.fixture(scope="module")
def ledger_engine(postgres_server: PostgresServer, _template_database: str) -> Iterator[Engine]:
    """A database for this module alone."""
    engine = open_engine(postgres_server.create_database("property_master_trader", template=_template_database))
    yield engine
    engine.dispose()


class Trade(NamedTuple):
    """The master trades. `hidden`: the broker shows the fill later. `during`: it happens while the next poll reads."""

    side: Side
    symbol: str
    quantity: Decimal
    hidden: bool
    during: bool


class Show(NamedTuple):
    """The broker shows the fills that it hid."""


class Poll(NamedTuple):
    """A new process starts and polls. It dies at boundary `die_at` if it gets that far.

    `between`: the master trades after the first poll. The process then polls again, and publishes from its books.
    """

    die_at: int | None
    between: tuple[Trade, ...] = ()


class TwoAtOnce(NamedTuple):
    """Two processes both believe that they hold the lease."""

    die_at: int | None


BOUNDARY = st.none() | st.integers(1, 40)
TRADES = st.builds(
    Trade,
    st.sampled_from(Side),
    st.sampled_from(["BTC/USD", "ETH/USD"]),
    st.sampled_from([Decimal("0.01"), Decimal("0.03"), Decimal("0.2")]),
    st.booleans(),
    st.booleans(),
)
# Each round trades and then reads. In unstructured lists of steps, most polls would find no new fill.
ROUNDS = st.tuples(
    st.lists(TRADES, min_size=1, max_size=3),
    st.builds(Poll, st.none() | st.integers(1, 80), st.lists(TRADES, max_size=3).map(tuple))
    | st.builds(TwoAtOnce, BOUNDARY),
    st.lists(st.builds(Show), max_size=1),
)
STEPS = st.lists(ROUNDS, min_size=2, max_size=6).map(
    lambda rounds: [step for trades, poll, shows in rounds for step in (*trades, poll, *shows)]
)


async def play(world: World, steps: list[Any]) -> set[str]:
    ever_hidden: set[str] = set()

    # After four trades during one reading, the balances are used as they are. The equity is then off by a fee.
    all_trades = [trade for step in steps for trade in (step.between if isinstance(step, Poll) else (step,))]
    very_busy = sum(isinstance(trade, Trade) and trade.during for trade in all_trades) > 4

    def trade(step: Trade) -> None:
        fill = world.account.trade(step.side, step.symbol, step.quantity, hidden=step.hidden)
        if step.hidden or (step.during and very_busy):
            ever_hidden.add(fill.fill_id)

    await world.run()  # The first start sets the point from which fills are published.
    for step in steps:
        match step:
            case Trade(during=True):
                world.account.during_reading.append(lambda step=step: trade(step))
            case Trade():
                trade(step)
            case Show():
                world.account.hidden.clear()
            case Poll():
                await world.run(step.die_at, between=[lambda each=each: trade(each) for each in step.between])
            case TwoAtOnce():
                await asyncio.gather(world.run(step.die_at), world.run())
    world.account.during_reading.clear()
    return ever_hidden


def publishes_every_fill_once(stream_url: str, ledger_engine: Engine, steps: list[Any]) -> None:
    """Play a course of events to its end, and check what was published."""

    async def course() -> None:
        world = World(stream_url, ledger_engine)
        ever_hidden = await play(world, steps)
        check(world, await world.settle(), ever_hidden)

    asyncio.run(course())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_course_of_events_publishes_every_fill_once_in_order_and_gap_free(
    stream_url: str, ledger_engine: Engine, steps: list[Any]
) -> None:
    """Fills arrive early, late or during a reading, processes die at any boundary, and two processes run at once."""
    publishes_every_fill_once(stream_url, ledger_engine, steps)


@pytest.mark.long
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_many_courses_of_events_publish_every_fill_once_in_order_and_gap_free(
    stream_url: str, ledger_engine: Engine, steps: list[Any]
) -> None:
    """The same with more examples."""
    publishes_every_fill_once(stream_url, ledger_engine, steps)


def test_a_crash_at_every_single_boundary_loses_and_doubles_nothing(stream_url: str, ledger_engine: Engine) -> None:
    """The process dies at boundary 1, 2, 3 … until it survives. The master buys twice and sells a part."""

    async def course() -> int:
        for die_at in count(1):
            world = World(stream_url, ledger_engine)
            await world.run()
            world.account.trade(Side.BUY, "BTC/USD", "0.02")
            world.account.trade(Side.BUY, "BTC/USD", "0.02")
            world.account.trade(Side.SELL, "BTC/USD", "0.01")
            died = await world.run(die_at)
            published = await world.settle()
            check(world, published, set())
            assert published[-1].fraction_closed == Decimal("0.25")
            if not died:
                return die_at
        raise AssertionError

    # The calls are: read, record, publish three fills, mark, advance. Fewer boundaries would mean that a call was not
    # counted.
    assert asyncio.run(course()) > 30


def test_what_a_process_records_after_it_lost_its_lease_is_published_by_the_next(
    stream_url: str, ledger_engine: Engine
) -> None:
    """The old process commits at boundary 1, 2, 3 … of its successor and never publishes."""

    async def course() -> int:
        for ends_at in count(1):
            world = World(stream_url, ledger_engine)
            await world.run()
            fill = world.account.trade(Side.BUY, "BTC/USD", "0.02")
            observed = [ObservedFill(fill, world.account.worth(), Decimal(1))]
            record = partial(world.ledger.record, KEYS.broker, world.name, observed, world.account.clock)
            async with world.process(ends_at) as (watch, boundaries):
                boundaries.instead = record
                await watch.begin()
                await watch.poll()
                await watch.poll()
                crossed = boundaries.crossed
            assert [published.fill_id for published in await world.published()] == [fill.fill_id], ends_at
            if crossed < ends_at:
                return ends_at
        raise AssertionError

    assert asyncio.run(course()) > 30


def test_a_process_that_dies_while_its_account_searches_for_fills_leaves_them_to_the_next(
    stream_url: str, ledger_engine: Engine
) -> None:
    """The newest fill was found and recorded. An older fill, from before the overlap, was not found yet."""

    async def course() -> None:
        world = World(stream_url, ledger_engine)
        await world.run()
        older = world.account.trade(Side.BUY, "BTC/USD", "0.02", hidden=True)
        world.account.clock += timedelta(minutes=10)
        newer = world.account.trade(Side.BUY, "ETH/USD", "0.2")
        world.account.is_searching = True
        await world.run()
        assert [fill.fill_id for fill in await world.published()] == [newer.fill_id]
        world.account.is_searching = False
        assert [fill.fill_id for fill in await world.settle()] == [newer.fill_id, older.fill_id]
        await world.run()
        checkpoint = world.ledger.watch(KEYS.broker, world.name, world.account.clock)
        assert checkpoint.read_until == newer.executed_at

    asyncio.run(course())


def test_markets_that_are_loaded_again_while_an_account_searches_cut_nothing_off(
    stream_url: str, ledger_engine: Engine
) -> None:
    """After the markets were loaded, fills are read from where the search began, and not from the newest fill."""

    async def course() -> None:
        world = World(stream_url, ledger_engine)
        world.account.prices["EUR"] = Decimal("1.1")
        await world.run()
        older = world.account.trade(Side.BUY, "BTC/USD", "0.02", hidden=True)
        world.account.clock += timedelta(minutes=10)
        newer = world.account.trade(Side.BUY, "ETH/USD", "0.2")
        world.account.is_searching = True
        async with world.process() as (watch, _):
            await watch.begin()
            await watch.poll()
            unlisted = world.account.trade(Side.BUY, "BTC/EUR", "0.01")
            await watch.poll()
            world.account.hidden.clear()
            await watch.poll()
        published = [fill.fill_id for fill in await world.published()]
        assert published == [newer.fill_id, older.fill_id, unlisted.fill_id]

    asyncio.run(course())


def test_the_checks_notice_a_fill_that_is_missing_doubled_or_out_of_order(
    stream_url: str, ledger_engine: Engine
) -> None:
    """The checks above can fail: each of their promises is broken once, on the result of a real run."""

    async def course() -> tuple[World, list[MasterFill]]:
        world = World(stream_url, ledger_engine)
        await world.run()
        world.account.trade(Side.BUY, "BTC/USD", "0.02")
        world.account.clock += timedelta(seconds=5)
        world.account.trade(Side.SELL, "BTC/USD", "0.01")
        return world, await world.settle()

    world, (first, second) = asyncio.run(course())
    check(world, [first, second], set())
    for broken in (
        [first],
        [first, second, second],
        [second, first],
        [first, second.model_copy(update={"fraction_closed": Decimal("0.4")})],
        [first, second.model_copy(update={"master_equity_before": second.master_equity_before + 1})],
    ):
        with pytest.raises(AssertionError):
            check(world, broken, set())
