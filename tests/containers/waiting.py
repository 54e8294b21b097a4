"""Waits for something that other processes do."""

import time
from collections.abc import Callable
from typing import TypeVar

_POLL_SECONDS = 0.5
Found = TypeVar("Found")


def until(
    condition: Callable[[], Found | None],
    what: str,
    seconds: float = 60,
    *,
    instead: Callable[[], object] = lambda: "",
) -> Found:
    """Return the first true value of `condition`. After so many seconds an AssertionError says what was there `instead`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what} {instead()}"
        time.sleep(_POLL_SECONDS)
    return found
