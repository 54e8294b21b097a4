"""Tests how many hints a sweep sends."""

import pytest

from services.broker_worker.sweep import Sweeper
from shared.domain.identity import Broker
from shared.messaging.mailboxes import Swept
from tests.support.running.worker_health import a_health


@pytest.fixture
def sweeper() -> Sweeper:
    """A sweeper of a worker with two children of ten places; it is not started."""
    return Sweeper(
        Broker.KRAKEN,
        "redis://127.0.0.1:1/0",
        claim_seconds=30,
        places=10,
        children=2,
        publish_hints=lambda hints: None,
        is_busy=lambda: False,
        health=a_health(),
        database_url="postgresql://127.0.0.1:1/nija",
    )


@pytest.mark.parametrize(
    ("swept", "hints"),
    [
        (Swept(0, 0, 0), 0),
        (Swept(1, 0, 0), 1),
        (Swept(0, 1, 0), 1),
        (Swept(0, 0, 10), 1),
        (Swept(4, 4, 3), 2),
        (Swept(500, 100, 5000), 2),
    ],
)
def test_as_many_hints_as_drains_would_find_work(sweeper: Sweeper, swept: Swept, hints: int) -> None:
    """One for each filled set of places, none for nothing, at most one for each child."""
    assert sweeper.hints(swept) == hints
