"""The stored account of a master: what shows that another key opens the same one."""

from datetime import timedelta

from shared.domain.identity import Broker, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.ledger.master_identity import KnownAccount
from shared.persistence.ledger.targets import PlacedOrder
from tests.support.examples import NOW, an_account_fill

KRAKEN, NAME = Broker.KRAKEN, MasterAccount("main")
BTC = Symbol("BTC", "USD")


def test_an_order_of_an_account_that_was_watched_before_shows_nothing(fills: MasterFills) -> None:
    """After the change, no order is known until the new account has a fill. The old account keeps its own orders."""
    fills.watch(KRAKEN, NAME, NOW)
    fills.identities.confirm(KRAKEN, NAME, "old hash", None, NOW)
    fills.record(KRAKEN, NAME, [ObservedFill(an_account_fill(fill_id="a", order_id="old order"), None)], NOW)
    assert fills.identities.known(KRAKEN, NAME) == KnownAccount(None, "old hash", PlacedOrder("old order", BTC))

    later = NOW + timedelta(minutes=1)
    fills.identities.replace(KRAKEN, NAME, "new hash", None, later)
    assert fills.identities.known(KRAKEN, NAME) == KnownAccount(None, "new hash", None)

    fills.record(KRAKEN, NAME, [ObservedFill(an_account_fill(fill_id="b", order_id="new order"), None)], later)
    assert fills.identities.known(KRAKEN, NAME) == KnownAccount(None, "new hash", PlacedOrder("new order", BTC))
