"""The scripts of the rate limits on a real Redis do what the Python arithmetic of the simulation does."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from shared.messaging.scripts import script
from tests.support import bucket_model
from tests.support.bucket_model import Bucket

KEY = "bucket"
amounts = st.floats(0, 8_000, allow_subnormal=False).map(lambda number: round(number, 3))
capacities = st.floats(1, 8_000).map(lambda number: round(number, 3))
refills = st.floats(0.01, 800).map(lambda number: round(number, 3))
stored = st.none() | st.tuples(st.floats(-8_000, 8_000).map(lambda number: round(number, 3)), st.integers(-500, 10_000))
"""A bucket's level and its age in milliseconds; None: not stored. An age below 0 is another machine's clock."""


@pytest.fixture
def redis(fresh_redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(fresh_redis_url) as client:
        yield client


def run(redis: Redis, name: str, before: Bucket | None, arguments: Sequence[object]) -> tuple[Any, bytes | None, int]:
    """Return the reply of the script, what it left, and the millisecond in which it ran."""
    redis.delete(KEY)
    if before is not None:
        redis.set(KEY, f"{before.level:.6f} {before.at_ms}")
    for _ in range(20):
        with redis.pipeline(transaction=True) as pipeline:
            pipeline.get(KEY)
            pipeline.time()
            pipeline.eval(script(name).text, 1, KEY, *(str(argument) for argument in arguments))
            pipeline.get(KEY)
            pipeline.time()
            _, started, reply, left, ended = pipeline.execute()
        milliseconds = {int(seconds) * 1000 + int(micros) // 1000 for seconds, micros in (started, ended)}
        if len(milliseconds) == 1:
            return reply, left, milliseconds.pop()
        redis.delete(KEY)
        if before is not None:
            redis.set(KEY, f"{before.level:.6f} {before.at_ms}")
    raise AssertionError("Redis never ran the script within one millisecond")


def bucket_of(redis: Redis, drawn: tuple[float, int] | None, capacity: float) -> Bucket | None:
    if drawn is None:
        return None
    seconds, micros = redis.time()  # type: ignore[misc]  # redis-py types the reply of both clients together
    return Bucket(min(drawn[0], capacity), int(seconds) * 1000 + int(micros) // 1000 - drawn[1])


def same(left: bytes | None, expected: Bucket | None) -> bool:
    """Whether Redis holds the expected bucket. Redis stores six decimals."""
    if left is None or expected is None:
        return left is None and expected is None
    level, at_ms = left.decode().split()
    return float(level) == pytest.approx(expected.level, abs=2e-6, rel=1e-9) and int(at_ms) == expected.at_ms


quick: Callable[[Any], Any] = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(stored, capacities, refills, amounts, amounts, amounts, amounts)
def test_take_is_the_arithmetic_of_the_simulation(
    redis: Redis,
    drawn: tuple[float, int] | None,
    capacity: float,
    refill: float,
    wanted: float,
    least: float,
    extra: float,
    to_be_left: float,
) -> None:
    """The reply and the bucket that is left agree, for any level and age."""
    before = bucket_of(redis, drawn, capacity)
    arguments = (capacity, refill, wanted, least, extra, to_be_left)
    reply, left, now_ms = run(redis, "take", before, arguments)
    expected = bucket_model.take(
        before, now_ms, capacity, refill, wanted=wanted, least=least, extra=extra, to_be_left=to_be_left
    )
    assert [float(text) for text in reply] == pytest.approx([expected.granted, expected.available], abs=2e-6, rel=1e-9)
    assert same(left, expected.bucket)


@quick
@given(stored, capacities, refills, amounts, st.booleans())
def test_correct_is_the_arithmetic_of_the_simulation(
    redis: Redis, drawn: tuple[float, int] | None, capacity: float, refill: float, units: float, counts: bool
) -> None:
    """Units that are given back, and units that are counted afterwards, leave the expected bucket."""
    before = bucket_of(redis, drawn, capacity)
    change = -units if counts else units
    _, left, now_ms = run(redis, "correct", before, (capacity, refill, change))
    assert same(left, bucket_model.correct(before, now_ms, capacity, refill, change))


@quick
@given(stored, capacities, refills, st.floats(0, 9).map(lambda number: round(number, 3)))
def test_exhaust_is_the_arithmetic_of_the_simulation(
    redis: Redis, drawn: tuple[float, int] | None, capacity: float, refill: float, seconds: float
) -> None:
    """A ban leaves the expected bucket, and a longer ban stays."""
    before = bucket_of(redis, drawn, capacity)
    arguments = (seconds, capacity, refill)
    _, left, now_ms = run(redis, "exhaust", before, arguments)
    assert same(left, bucket_model.exhaust(before, now_ms, capacity, refill, seconds))
