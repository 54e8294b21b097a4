"""Tests which owed exits `nija status` reports."""

from decimal import Decimal
from typing import Any

from shared.domain.copying.debt import Debt
from tests.support.operators.status_facts import ago, broker, system


def a_debt(seconds: float = 11, **changes: Any) -> Debt:
    """Half a bitcoin of alice, owed for so long."""
    values: dict[str, Any] = {
        "follower_id": "alice",
        "asset": "BTC",
        "owed": Decimal("0.5"),
        "since": ago(seconds),
        "sequence": 7,
        "why": "rejected: the pair is in cancel_only mode",
    }
    return Debt(**values | changes)


def test_a_debt_that_is_older_than_ten_seconds_is_reported() -> None:
    """With the follower, the quantity, the time, the reason, and what to do."""
    assert system(brokers=(broker(debts=(a_debt(10),)),)).findings() == []
    [found] = system(brokers=(broker(debts=(a_debt(11), a_debt(2, asset="ETH"))),)).findings()
    assert (found.kind, found.broker, found.subject) == ("exit_owed", "kraken", "alice")
    assert found.message == (
        "alice owes an exit of 0.5 BTC since 2026-01-02 03:03:54 UTC (fill 7: rejected: the pair is in cancel_only "
        "mode). The next exit of BTC sells it. If the master has none left to sell, sell it at the broker, then run "
        "`nija reconcile --repair`"
    )


def test_many_debts_are_reported_by_their_number() -> None:
    """A broker that refuses all sales would otherwise fill the screen."""
    debts = tuple(a_debt(100 - number, follower_id=f"f{number}") for number in range(9))
    found = system(brokers=(broker(debts=debts),)).findings()
    assert [each.subject for each in found] == ["f0", "f1", "f2", "f3", "f4", "followers"]
    assert found[-1].message == "4 more exits are owed (`nija positions --owed`)"
    assert system(brokers=(broker(debts=debts[:6]),)).findings()[-1].message.startswith("1 more exit is owed")
