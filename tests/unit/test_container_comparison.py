"""Tests that the comparison of the container tests reports each kind of wrong copy."""

from dataclasses import dataclass, field
from decimal import Decimal

from tests.containers.comparison import Execution, Skipped, compare

MASTER = "master"
SHARES = {"alice": Decimal("0.1"), "bob": Decimal("0.5")}


@dataclass
class Log:
    """A paper broker's log of executions, written by hand."""

    done: list[Execution] = field(default_factory=list)

    def add(
        self, account: str, quantity: str, *, side: str = "buy", order: str | None = None, symbol: str = "BTC/USD"
    ) -> None:
        """Append an execution; a copy has a client order id of its own unless `order` names one."""
        name = None if account == MASTER else order or f"order-{len(self.done)}"
        self.done.append(
            Execution(
                account=account,
                client_order_id=name,
                symbol=symbol,
                side=side,
                quantity=Decimal(quantity),
                executed_at=len(self.done),
            )
        )

    def wrong(self, skipped: Skipped | None = None) -> list[str]:
        return compare(self.done, MASTER, SHARES, skipped)


def copied() -> Log:
    """A purchase and a sale, each copied to both followers."""
    log = Log()
    for side, quantities in {"buy": ("1", "0.1", "0.5"), "sell": ("0.4", "0.04", "0.2")}.items():
        for account, quantity in zip((MASTER, *SHARES), quantities, strict=True):
            log.add(account, quantity, side=side)
    return log


def test_right_copies_are_right() -> None:
    """Also with a copy that was executed in two parts, or differs by what prices moved meanwhile."""
    log = copied()
    log.add(MASTER, "2", symbol="ETH/USD")
    log.add("alice", "0.15", order="in parts", symbol="ETH/USD")
    log.add("alice", "0.049", order="in parts", symbol="ETH/USD")
    log.add("bob", "1.02", symbol="ETH/USD")
    assert log.wrong() == []


def test_a_missing_copy_is_reported() -> None:
    """The last one of a follower, and all of a follower."""
    log = copied()
    del log.done[-1]
    assert log.wrong() == ["bob BTC/USD: 1 copies where 2 are right; fill 2 has none"]
    log.done = [each for each in log.done if each.account != "bob"]
    assert log.wrong() == ["bob BTC/USD: 0 copies where 2 are right; fill 1 has none"]


def test_a_missing_copy_in_the_middle_is_reported() -> None:
    """The following ones do not take its place."""
    log = copied()
    del log.done[1]
    assert log.wrong() == ["alice BTC/USD, fill 1: sell 0.04 where buy 0.1 is right"]


def test_a_doubled_copy_is_reported_whether_its_id_is_new_or_the_same() -> None:
    """A second order, and a second execution in full of the same order."""
    log = copied()
    log.add("bob", "0.2", side="sell")
    assert log.wrong() == ["bob BTC/USD: 3 copies where 2 are right"]
    log = copied()
    log.add("bob", "0.2", side="sell", order="order-5")
    assert log.wrong() == ["bob BTC/USD, fill 2: sell 0.4 where sell 0.20 is right"]


def test_a_wrong_quantity_or_side_is_reported() -> None:
    """Ten per cent too much; the other side."""
    log = copied()
    log.done[1] = log.done[1].model_copy(update={"quantity": Decimal("0.11")})
    log.done[5] = log.done[5].model_copy(update={"side": "buy"})
    assert log.wrong() == [
        "alice BTC/USD, fill 1: buy 0.11 where buy 0.1 is right",
        "bob BTC/USD, fill 2: buy 0.2 where sell 0.20 is right",
    ]


def test_what_the_master_never_did_is_reported() -> None:
    """Another symbol, another account, an order without an id, and an id that two accounts have."""
    log = copied()
    log.add("alice", "1", symbol="DOGE/USD")
    assert log.wrong() == ["alice DOGE/USD: the master never traded it"]
    log = copied()
    log.add("carol", "0.1")
    assert log.wrong() == ["carol is no follower and traded"]
    log = copied()
    log.done[1] = log.done[1].model_copy(update={"client_order_id": None})
    assert log.wrong() == ["alice: 1 executions without nija's order id"]
    log = copied()
    log.done[2] = log.done[2].model_copy(update={"client_order_id": log.done[1].client_order_id})
    assert len(log.wrong()) == 1
    assert log.wrong()[0].startswith("order order-1 is on several accounts")


def test_a_skipped_purchase_changes_what_its_exits_sell() -> None:
    """Alice has the first purchase only, so she sells half of that, and then the rest."""
    log = Log()
    for side, master, alice in (("buy", "1", "0.1"), ("buy", "3", ""), ("sell", "2", "0.05"), ("sell", "2", "0.05")):
        log.add(MASTER, master, side=side)
        log.add("bob", str(Decimal(master) / 2), side=side)
        if alice:
            log.add("alice", alice, side=side)
    assert log.wrong({("alice", "BTC/USD"): {2}}) == []
    assert log.wrong() == ["alice BTC/USD, fill 2: sell 0.05 where buy 0.3 is right"]
    assert log.wrong({("bob", "BTC/USD"): {2}}) != []


def test_nothing_is_sold_of_a_purchase_that_was_skipped() -> None:
    """The master's fee in the coin leaves a rest that counts as nothing, and no follower sells for it."""
    log = Log()
    for side, quantity in (("buy", "1"), ("sell", "0.999"), ("buy", "2"), ("sell", "2.001")):
        log.add(MASTER, quantity, side=side)
        log.add("bob", str(Decimal(quantity) / 2), side=side)
        if quantity.startswith("2"):
            log.add("alice", str(Decimal(quantity) / 10), side=side)
    assert log.wrong({("alice", "BTC/USD"): {1}}) == []
    log.add("alice", "0.1", side="sell")
    assert log.wrong({("alice", "BTC/USD"): {1}}) == ["alice BTC/USD: 3 copies where 2 are right"]
