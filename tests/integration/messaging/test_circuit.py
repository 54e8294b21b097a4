"""While a broker does not answer, the circuit stops the requests of all processes until one probe is answered.

Redis is real.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from shared.brokers.errors import (
    BrokerError,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    NotVisibleYet,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Throttled,
)
from shared.brokers.guarded import Guard, GuardedAccount
from shared.brokers.port.orders import MarketOrder
from shared.domain.events import Outcome
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.messaging import circuit as circuit_module
from shared.messaging.circuit import FAILURES_THAT_OPEN, RedisCircuit
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner
from tests.support.examples import an_order
from tests.support.faulty_broker import FaultyAccount
from tests.support.running.worker_bench import WorkerBench

KEYS = BrokerKeys(Broker.KRAKEN)
HANGS = OutcomeUnknown("timeout")
FIRST_DISTANCE_SECONDS = 0.2
LONG_DISTANCE_SECONDS = 60.0
"""No probe is due during a test, however slow the machine is."""


@pytest.fixture
async def redis(each_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database, on every version of Redis."""
    async with Redis.from_url(each_redis_url) as client:
        yield client


def a_circuit(
    redis: Redis, broker: Broker = Broker.KRAKEN, first_distance_seconds: float = FIRST_DISTANCE_SECONDS
) -> RedisCircuit:
    """The circuit as one process uses it."""
    return RedisCircuit(
        ScriptRunner(redis),
        BrokerKeys(broker),
        first_distance_seconds=first_distance_seconds,
        longest_distance_seconds=4 * first_distance_seconds,
    )


def guarded(circuit: RedisCircuit, account: FaultyAccount, hashed_key: str = "k1") -> GuardedAccount:
    return GuardedAccount(account, Guard(circuit), hashed_key)


def an_order_to_place() -> MarketOrder:
    valid_until = datetime.now(UTC) + timedelta(seconds=10)
    return MarketOrder(
        client_order_id=CopyOrderId("0" * 32),
        symbol="BTC/USD",
        side=Side.BUY,
        quantity=Decimal("0.001"),
        valid_until=valid_until,
    )


async def fail(circuit: RedisCircuit, errors: list[BrokerError], accounts: tuple[str, ...] = ("k1", "k2")) -> None:
    """Let each of the accounts in turn fail with the next of these errors."""
    for number, error in enumerate(errors):
        account = guarded(circuit, FaultyAccount(read_errors=[error]), accounts[number % len(accounts)])
        with pytest.raises(type(error)):
            await account.balances()


async def is_open(redis: Redis, broker: Broker = Broker.KRAKEN) -> bool:
    return (await a_circuit(redis, broker).enter()) != (0.0, False)


async def opened(redis: Redis) -> RedisCircuit:
    circuit = a_circuit(redis)
    await fail(circuit, [HANGS] * FAILURES_THAT_OPEN)
    return circuit


@pytest.mark.parametrize("error", [HANGS, NotSent("refused")])
async def test_failures_of_several_accounts_open_it_for_every_process(redis: Redis, error: BrokerError) -> None:
    """After timeouts or refused connections a request of another process is not sent, and gets a time to wait."""
    circuit = a_circuit(redis, first_distance_seconds=LONG_DISTANCE_SECONDS)
    await fail(circuit, [error] * (FAILURES_THAT_OPEN - 1))
    assert not await is_open(redis)
    await fail(circuit, [error])
    untouched = FaultyAccount()
    with pytest.raises(Throttled) as throttled:
        await guarded(a_circuit(redis), untouched).place(an_order_to_place())
    assert 0 < throttled.value.retry_after_seconds <= LONG_DISTANCE_SECONDS
    assert untouched.placed == []


async def test_one_account_alone_never_opens_it(redis: Redis) -> None:
    """However often the requests of one account fail, that is no sign of trouble at the broker."""
    await fail(a_circuit(redis), [HANGS] * (4 * FAILURES_THAT_OPEN), ("k1",))
    assert not await is_open(redis)


@pytest.mark.parametrize(
    "error",
    [
        KeyRefused("key"),
        InsufficientFunds("funds"),
        Rejected("no"),
        InvalidNonce("nonce"),
        RateLimited("slow down"),
        NotVisibleYet("unknown order"),
        OutcomeUnknown("EOrder:Words that nobody has seen before", answered=True),
    ],
)
async def test_refusals_are_answers(redis: Redis, error: BrokerError) -> None:
    """Refusals never open the circuit, and they end a row of failures."""
    circuit = a_circuit(redis)
    await fail(circuit, [error] * (2 * FAILURES_THAT_OPEN))
    await fail(circuit, [HANGS] * (FAILURES_THAT_OPEN - 1))
    await fail(circuit, [error])
    await fail(circuit, [HANGS] * (FAILURES_THAT_OPEN - 1))
    assert not await is_open(redis)


async def test_old_failures_do_not_count(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures before a quiet time do not count."""
    monkeypatch.setattr(circuit_module, "COUNT_FOR_SECONDS", 0.05)
    circuit = a_circuit(redis)
    await fail(circuit, [HANGS] * (FAILURES_THAT_OPEN - 1))
    await asyncio.sleep(0.1)
    await fail(circuit, [HANGS] * (FAILURES_THAT_OPEN - 1))
    assert not await is_open(redis)


async def test_other_brokers_are_not_touched(redis: Redis) -> None:
    """While the circuit of Kraken is open, requests to OKX are still sent."""
    await opened(redis)
    assert await is_open(redis)
    assert not await is_open(redis, Broker.OKX)


async def redis_clock_ms(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def next_probe_in(redis: Redis, circuit: RedisCircuit) -> tuple[int, int]:
    """Wait for the probe, and return the least and the most milliseconds between it and the next one.

    They are a few milliseconds apart on a quiet machine. On a slow one they are further apart and still right.
    """
    deadline = time.monotonic() + 10
    while True:
        before_ms = await redis_clock_ms(redis)
        permit = await circuit.enter()
        after_ms = await redis_clock_ms(redis)
        if permit.is_probe:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(min(permit.wait_seconds, 0.05))
    next_ms = int(await redis.hget(KEYS.circuit, "probe_ms") or 0)
    return next_ms - after_ms, next_ms - before_ms


async def test_one_process_probes_at_growing_distances(redis: Redis) -> None:
    """Each failed probe doubles the wait before the next one, up to a limit. Meanwhile no other request is sent."""
    circuit = await opened(redis)
    for distance in (1, 2, 4, 4):
        shortest_ms, longest_ms = await next_probe_in(redis, circuit)
        assert shortest_ms <= distance * FIRST_DISTANCE_SECONDS * 1000 <= longest_ms
        await circuit.failed("k1", "timeout")


async def test_a_probe_that_is_answered_closes_it_for_everybody(redis: Redis) -> None:
    """The order is sent after an answered probe, and other processes need no probe any more."""
    circuit = await opened(redis)
    other = a_circuit(redis)
    account = FaultyAccount()
    deadline = time.monotonic() + 10
    while not account.placed:
        assert time.monotonic() < deadline
        try:
            await guarded(circuit, account).place(an_order_to_place())
        except Throttled as throttled:
            await asyncio.sleep(throttled.retry_after_seconds)
    assert len(account.placed) == 1
    assert await other.enter() == (0.0, False)
    assert await redis.hget(KEYS.circuit, "open") is None


async def test_an_order_is_never_the_probe(redis: Redis) -> None:
    """While the broker does not answer, only balances are requested, and the order is not sent."""
    circuit = await opened(redis)
    account = FaultyAccount(read_errors=[HANGS] * 3)
    deadline = time.monotonic() + 10
    while account.read_errors:
        assert time.monotonic() < deadline
        with pytest.raises(Throttled) as throttled:
            await guarded(circuit, account).place(an_order_to_place())
        await asyncio.sleep(throttled.value.retry_after_seconds)
    assert account.placed == []


async def test_orders_wait_in_their_mailboxes_while_it_is_open_and_are_copied_after(redis: Redis) -> None:
    """The order gets a later due time, is not recorded as submitting, and is placed once in the end."""
    circuit = await opened(redis)
    bench = WorkerBench(redis)
    bench.connection.the_account = guarded(circuit, bench.account)
    bench.account.read_errors = [HANGS] * 100
    await bench.deliver(an_order())
    await bench.serve_once()
    assert bench.account.placed == []
    assert await bench.submission() is None
    bench.account.read_errors = []
    (final,) = await bench.serve()
    assert final.outcome is Outcome.COPIED
    assert len(bench.account.placed) == 1
