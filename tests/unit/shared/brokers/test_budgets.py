"""Tests that each gateway counts its requests against the rate limits that all processes share."""

from collections.abc import Sequence

import pytest

from shared.brokers.registry import CountsRequests, connect, profile_of, supported_brokers
from shared.domain.identity import Broker
from shared.domain.request_limits import Charge, Priority
from tests.unit.shared.brokers.conftest import CountingNonces


class NoLimits:
    """Grants every request."""

    async def take(self, charges: Sequence[Charge], priority: Priority) -> float:
        return 0.0

    async def give_back(self, charges: Sequence[Charge]) -> None:
        return

    async def count(self, charges: Sequence[Charge]) -> None:
        return

    async def exhaust(self, charges: Sequence[Charge], seconds: float) -> None:
        return


@pytest.mark.parametrize("broker", supported_brokers())
def test_every_gateway_takes_a_budget(broker: Broker) -> None:
    """With limits, the gateway has a budget with the rules of its broker. Without limits, requests are not counted."""
    counted = connect(broker, base_url=None, nonces=CountingNonces(), limits=NoLimits())
    assert isinstance(counted, CountsRequests)
    assert counted.budget is not None
    assert counted.budget.rules == profile_of(broker).rate_rules
    uncounted = connect(broker, base_url=None, nonces=CountingNonces())
    assert isinstance(uncounted, CountsRequests)
    assert uncounted.budget is None
