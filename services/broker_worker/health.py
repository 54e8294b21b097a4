"""Decides whether a worker is fit to work: its children, its consumer of the Celery queue, and its servers.

A worker without children, or one that has lost its consumer, looks alive to Celery and serves no follower. Only a
restart helps, so such a worker stops its heartbeat and its signs of life say that it is broken.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from services.broker_worker.children import Children
from shared.domain.identity import Broker
from shared.messaging.stage_signs import StageRecord, StageState
from shared.observability.vitals import Trouble, Vitals

LOST_SECONDS: Final = 60.0
"""A consumer that leaves hints in the queue for so long is lost. Celery itself waits up to 30 s between two tries to
connect again."""


class ConsumerWatch:
    """Whether the worker still takes hints from its queue.

    A worker with a free child takes a hint at once. So the consumer is lost when hints lie in the queue and this
    worker, which has a free child, takes none of them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle_since: float | None = None

    def received(self) -> None:
        """The consumer has taken a hint."""
        self._idle_since = None

    def saw(self, waiting_hints: int, *, is_busy: bool) -> None:
        """What was found in the queue. `is_busy`: all children have a task, so none is to be taken."""
        if waiting_hints == 0 or is_busy:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock()

    @property
    def is_lost(self) -> bool:
        return self._idle_since is not None and self._clock() - self._idle_since > LOST_SECONDS


class WorkerHealth:
    """The life of one worker, for its heartbeat file and its signs of life."""

    def __init__(
        self, record: StageRecord, broker: Broker, children: Children, consumer: ConsumerWatch, vitals: Vitals
    ) -> None:
        self.record = record
        self.consumer = consumer
        self._children = children
        self._vitals = vitals
        self._duty = vitals.duty(broker)
        self._broken_since: datetime | None = None

    def swept(self) -> None:
        """A sweep succeeded: Redis answers."""
        if self._children.is_ledger_away:
            self._duty.without_server("followers' keys cannot be read: PostgreSQL does not answer its children")
        else:
            self._duty.worked()

    def without_redis(self, error: Exception) -> None:
        """A sweep, or its hints, did not reach Redis."""
        self._duty.without_server(f"Redis: {error or type(error).__name__}")

    @property
    def defect(self) -> str:
        """Why the worker serves no follower and only a restart helps; empty: it works, as far as it knows."""
        if self._children.has_started and (defect := self._children.defect):
            return defect
        return "it has lost its consumer: hints wait in the queue and it takes none" if self.consumer.is_lost else ""

    def beat(self) -> None:
        """Write the heartbeat file. Raises OSError when it cannot be written."""
        if self._children.has_started and not self.defect:
            self._vitals.beat()

    def present(self, _broker: Broker) -> StageRecord:
        """The worker as it is now."""
        if not self._children.has_started:
            return self.record
        if defect := self.defect:
            now = datetime.now(UTC)
            self._broken_since = self._broken_since or now
            return self.record.now(StageState.BROKEN, Trouble(defect, self._broken_since, now))
        self._broken_since = None
        return self.record.now(StageState.RUNNING, self._duty.trouble)
