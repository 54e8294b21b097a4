"""Tests that the listing is read again for a symbol that it misses, seldom, and also at intervals."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from services.broker_worker import listing as listing_module
from services.broker_worker.listing import Listing
from shared.brokers.errors import BrokerError, OutcomeUnknown
from shared.domain.instrument import Instrument
from tests.support.examples import an_instrument


@dataclass
class Broker:
    """Lists one symbol more each time it is asked; `errors` are raised first, in order."""

    errors: list[Exception] = field(default_factory=list)
    listed: dict[str, Instrument] = field(default_factory=dict)
    asked: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    times: int = 0

    async def reload(self) -> None:
        self.times += 1
        self.asked.put_nowait(self.times)
        if self.errors:
            raise self.errors.pop(0)
        self.listed[f"NEW{self.times}/USD"] = an_instrument()


@contextmanager
def kept_fresh(listing: Listing) -> Iterator[None]:
    """As a child keeps it."""
    keeping = asyncio.create_task(listing.keep_fresh())
    try:
        yield
    finally:
        keeping.cancel()


async def until_asked(broker: Broker, times: int) -> None:
    async with asyncio.timeout(5):
        while await broker.asked.get() < times:
            pass


async def test_a_missed_symbol_has_the_broker_asked_once() -> None:
    """At once, and not again within the minute, however many orders miss it."""
    broker = Broker()
    listing = Listing(lambda: broker.listed, broker.reload)
    read_at = listing.read_at
    with kept_fresh(listing):
        assert listing.find("NEW1/USD") is None
        await until_asked(broker, 1)
        assert listing.find("NEW1/USD") is not None
        for _ in range(50):
            assert listing.find("NEVER/USD") is None
            await asyncio.sleep(0.001)
    assert broker.times == 1
    assert listing.read_at > read_at


async def test_the_list_is_read_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lots and minimums change without any symbol being missed."""
    monkeypatch.setattr(listing_module, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(listing_module, "AT_MOST_EVERY_SECONDS", 0.0)
    broker = Broker()
    with kept_fresh(Listing(lambda: broker.listed, broker.reload)):
        await until_asked(broker, 3)


@pytest.mark.parametrize("error", [OutcomeUnknown("no reply"), RuntimeError("a defect")])
async def test_a_broker_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch, error: BrokerError) -> None:
    """What was listed stays, and as old as it is."""
    monkeypatch.setattr(listing_module, "AT_MOST_EVERY_SECONDS", 0.01)
    broker = Broker(errors=[error], listed={"BTC/USD": an_instrument()})
    listing = Listing(lambda: broker.listed, broker.reload)
    read_at = listing.read_at
    with kept_fresh(listing):
        assert listing.find("NEW2/USD") is None
        await until_asked(broker, 1)
        assert (listing.read_at, listing.find("BTC/USD")) == (read_at, an_instrument())
        assert listing.find("NEW2/USD") is None
        await until_asked(broker, 2)
    assert listing.find("NEW2/USD") is not None
