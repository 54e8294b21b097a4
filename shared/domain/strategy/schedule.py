"""Says when the trader of a broker runs its cycles: at fixed moments, which differ from broker to broker.

The moments depend on the clock only, so two processes number the same cycle alike. A cycle is never made up for: one
that takes too long, or that no process ran, is left out.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.domain.identity import Broker

CYCLE_SECONDS: Final = 150.0
"""Half a candle: each closed candle is seen by one cycle at least."""
_FIRST_SHARE: Final = 1 / 15
"""The first broker's cycles begin 10 s after a candle did, so that its last candle is complete."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CycleSchedule:
    """The cycles of one broker."""

    length: timedelta
    shift: timedelta
    """From the beginning of a whole multiple of `length` to the cycle in it."""

    def number_at(self, now: datetime) -> int:
        """Return the number of the cycle that began last."""
        return (now - _EPOCH - self.shift) // self.length

    def starts_at(self, number: int) -> datetime:
        """Return when a cycle begins."""
        return _EPOCH + self.shift + number * self.length


def schedule_of(broker: Broker, cycle_seconds: float = CYCLE_SECONDS) -> CycleSchedule:
    """Return the cycles of a broker. The brokers' cycles begin one after the other, spread over the whole length."""
    place = list(Broker).index(broker) / len(Broker)
    length = timedelta(seconds=cycle_seconds)
    return CycleSchedule(length, length * (_FIRST_SHARE + place))
