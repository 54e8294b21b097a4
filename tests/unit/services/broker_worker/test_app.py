"""Tests which broker a worker serves."""

from typing import Any

import pytest

from services.broker_worker.app import broker_of_queues
from shared.config import ConfigurationError
from shared.domain.identity import Broker


@pytest.mark.parametrize(
    ("queues", "broker"),
    [("broker.kraken", Broker.KRAKEN), (["broker.okx"], Broker.OKX), ({"broker.alpaca"}, Broker.ALPACA)],
)
def test_the_queue_says_which_broker_it_is(queues: Any, broker: Broker) -> None:
    """Text as the command line gives it, or a collection."""
    assert broker_of_queues(queues) is broker


@pytest.mark.parametrize("queues", [None, "", "celery", "broker.kraken,broker.okx", ["broker.mtgox"]])
def test_a_worker_without_exactly_one_broker_is_refused(queues: Any) -> None:
    """The message names the option and what would be right."""
    with pytest.raises(ConfigurationError, match=r"-Q and one of broker\.coinbase, broker\.kraken"):
        broker_of_queues(queues)
