"""A process of nija beside the test: a module and its environment in; killed at the end, whatever it did."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEADLINE_SECONDS = 40


@contextmanager
def a_process(module: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module`, with this environment and nothing else; what it prints is added to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, or fail with what was waited for."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.02)
