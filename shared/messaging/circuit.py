"""Implements the circuit of a broker in Redis, shared by all processes that send requests to the broker.

It opens after several failures in a row, if they come from at least two accounts. So the trouble of one account never
stops another.

To save requests to Redis, a process reads the state of the circuit at most once a second. It reports an answer only
if the circuit is open or has counted failures.
"""

from time import monotonic
from typing import Final

import structlog

from shared.domain.request_limits import Permit
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner

FAILURES_THAT_OPEN: Final = 5
COUNT_FOR_SECONDS: Final = 60.0
FIRST_DISTANCE_SECONDS: Final = 1.0
LONGEST_DISTANCE_SECONDS: Final = 15.0
ASK_EVERY_SECONDS: Final = 1.0
_LONGEST_ERROR: Final = 300

log = structlog.get_logger()


class RedisCircuit:
    """Implements the gateways' Circuit. Belongs to one event loop. Raises RedisError when Redis does not answer."""

    def __init__(
        self,
        scripts: ScriptRunner,
        keys: BrokerKeys,
        *,
        failures_that_open: int = FAILURES_THAT_OPEN,
        first_distance_seconds: float = FIRST_DISTANCE_SECONDS,
        longest_distance_seconds: float = LONGEST_DISTANCE_SECONDS,
    ) -> None:
        self._scripts = scripts
        self._keys = (keys.circuit,)
        self._broker = keys.broker.value
        self._failures_that_open = failures_that_open
        self._first_distance_ms = int(first_distance_seconds * 1000)
        self._longest_distance_ms = int(longest_distance_seconds * 1000)
        self._is_open = False
        self._failures = 0
        self._probe_at = 0.0
        self._asked_at = float("-inf")

    async def enter(self) -> Permit:
        """Return whether a request may be sent now, must wait, or may be sent as the probe."""
        now = monotonic()
        if self._is_open and now < self._probe_at:
            return Permit(self._probe_at - now)
        if not self._is_open and now - self._asked_at < ASK_EVERY_SECONDS:
            return Permit()
        # This is set before the reply arrives, so that simultaneous calls use the known state and do not ask as well.
        self._asked_at = now
        is_open, probe_in_ms, failures = await self._scripts.run(
            "circuit_enter", self._keys, [self._longest_distance_ms]
        )
        self._failures = failures
        self._learn(bool(is_open), probe_in_ms)
        if not is_open:
            return Permit()
        return Permit(probe_in_ms / 1000) if probe_in_ms else Permit(is_probe=True)

    async def failed(self, hashed_key: str, error: str) -> None:
        """Count a request of account `who` that got no answer."""
        is_open, probe_in_ms = await self._scripts.run(
            "circuit_failed",
            self._keys,
            [
                hashed_key,
                error[:_LONGEST_ERROR],
                self._failures_that_open,
                int(COUNT_FOR_SECONDS * 1000),
                self._first_distance_ms,
            ],
        )
        self._failures += 1
        if is_open and not self._is_open:
            log.error("circuit open: the broker does not answer", broker=self._broker, error=error)
        self._learn(bool(is_open), probe_in_ms)

    async def answered(self) -> None:
        """Close the circuit and forget its failures, because the broker answered. A refusal is an answer, too."""
        if not self._is_open and not self._failures:
            return
        self._failures = 0
        self._is_open = False
        if await self._scripts.run("circuit_answered", self._keys, []):
            log.warning("circuit closed: the broker answers again", broker=self._broker)

    def _learn(self, is_open: bool, probe_in_ms: int) -> None:
        self._is_open = is_open
        self._probe_at = monotonic() + probe_in_ms / 1000
