"""Provides an exchange on a clock that the test moves, with prices that stand where the test puts them."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from shared.exchange.accounts import ApiKey
from shared.exchange.instruments import INSTRUMENTS
from shared.exchange.journal import Journal
from shared.exchange.simulated import simulated_exchange
from shared.exchange.state import State

START = 1_700_000_000_000_000


class Bench:
    """One exchange with its journal. `now` is the clock, in microseconds since 1970."""

    def __init__(self, path: Path | None = None) -> None:
        self.now = START
        self.journal = Journal(path)
        self.state = State(INSTRUMENTS, self.journal)
        for event in self.journal.open():
            self.state.replay(event)
        self.exchange = simulated_exchange(
            clock=lambda: self.now, seed=7, candle_microseconds=1_000_000, state=self.state
        )

    def account(self, name: str, **balances: str) -> ApiKey:
        """Open an account with one key."""
        amounts = {currency: Decimal(amount) for currency, amount in balances.items()}
        self.state.add_account(name, amounts, [(f"key-{name}", "c2VjcmV0")], frozenset())
        return self.state.keys[f"key-{name}"]

    def wait(self, seconds: float) -> None:
        """Let time pass and have the exchange notice."""
        self.now += int(seconds * 1_000_000)
        self.exchange.advance()


@pytest.fixture
def bench() -> Bench:
    """An exchange in memory, BTC/USD standing at 50000."""
    bench = Bench()
    bench.exchange.pin_price("BTC/USD", Decimal(50_000))
    return bench


@pytest.fixture(scope="session")
def make_bench() -> Callable[[Path | None], Bench]:
    """Make an exchange over a journal; the same path again is a restart."""
    return Bench
