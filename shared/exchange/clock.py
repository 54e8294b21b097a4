"""The exchange's clock: the machine's time in, microseconds since 1970 that never go back out."""

import time


class MonotonicClock:
    """Microseconds since 1970 that never go back, also when the machine's clock is set: the logs stay in order."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self) -> int:
        now = time.time_ns() // 1_000
        self._last = max(self._last, now)
        return self._last
