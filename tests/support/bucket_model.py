"""The arithmetic of `take.lua`, `correct.lua` and `exhaust.lua` in Python, with the clock as an argument.

A property test compares it with the scripts on a real Redis. The simulation of an hour uses it instead of Redis.
"""

from typing import NamedTuple


class Bucket(NamedTuple):
    """What Redis stores of a bucket. A bucket that is not stored (None) is full."""

    level: float
    at_ms: int


class Taken(NamedTuple):
    """The reply of `take`, and the bucket after it."""

    granted: float
    available: float
    bucket: Bucket | None


def level_at(bucket: Bucket | None, now_ms: int, capacity: float, refill: float) -> float:
    """Return the units in the bucket. Below 0, the bucket is in debt or banned."""
    if bucket is None:
        return capacity
    return min(capacity, bucket.level + max(0, now_ms - bucket.at_ms) * refill / 1000)


def take(
    bucket: Bucket | None,
    now_ms: int,
    capacity: float,
    refill: float,
    *,
    wanted: float,
    least: float,
    extra: float,
    to_be_left: float,
) -> Taken:
    """Take what is wanted and the extra amount, as far as there is so much; nothing if there is less than the least."""
    level = level_at(bucket, now_ms, capacity, refill)
    available = level - to_be_left
    granted = min(available, wanted + extra) if available >= least else 0.0
    if granted > 0:
        return Taken(granted, available, Bucket(level - granted, now_ms))
    return Taken(0.0, available, bucket)


def correct(bucket: Bucket | None, now_ms: int, capacity: float, refill: float, units: float) -> Bucket | None:
    """Give units back (above 0), or count units that are spent already (below 0)."""
    level = level_at(bucket, now_ms, capacity, refill)
    if units >= 0 and level < 0:
        return bucket
    return Bucket(min(capacity, level + units), now_ms)


def exhaust(bucket: Bucket | None, now_ms: int, capacity: float, refill: float, seconds: float) -> Bucket:
    """Empty the bucket for a time. A longer ban stays."""
    level = -refill * seconds
    if bucket is not None:
        level = min(level, bucket.level + max(0, now_ms - bucket.at_ms) * refill / 1000)
    return Bucket(level, now_ms)
