"""Tests which brokers count as having followers."""

from shared.domain.identity import Broker
from shared.persistence.reports.reports import with_followers


def test_a_broker_whose_followers_are_all_removed_has_none() -> None:
    """A paused or disabled follower still counts."""
    statuses = {
        Broker.OKX: {"disabled": 1, "removed": 4},
        Broker.KRAKEN: {"removed": 2},
        Broker.BINANCE: {"paused": 1},
    }
    assert with_followers(statuses) == tuple(each for each in Broker if each in (Broker.OKX, Broker.BINANCE))
