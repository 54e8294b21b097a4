"""Tests which sales of a master are published from the books, and which wait, for how long and with what."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.master_trader.books import MasterBooks
from services.master_trader.held_sales import HeldSales
from shared.domain.fill import AccountFill, Side
from shared.domain.symbol import Symbol
from shared.persistence.ledger.master_fills import ObservedFill
from tests.unit.services.master_trader.test_unwind import NOON, fill

PATIENCE_SECONDS = 3.0
LONG_AGO = datetime(2026, 1, 5, 11, tzinfo=UTC)
BTC = Symbol.parse("BTC/USD")


class Master:
    """A master that held `totals` before its fills, of which nija has watched `traded`."""

    def __init__(
        self, totals: Mapping[str, str], traded: Mapping[str, str] | None = None, lot: str = "0.00000001"
    ) -> None:
        self.books = MasterBooks({c: Decimal(total) for c, total in totals.items()}, LONG_AGO, ())
        self.traded = {asset: Decimal(each) for asset, each in (traded or {}).items()}
        self.lot = Decimal(lot)
        self.held_sales = HeldSales(PATIENCE_SECONDS)

    def holds(self, *new: AccountFill, seconds: float = 0.0, unsure: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
        self.books.count(new)
        observed = [ObservedFill(each, Decimal(1000), lot=self.lot) for each in new]
        return sorted(self.held_sales.hold(observed, new, self.books, self.traded, unsure, seconds))

    def is_read(self, **totals: str) -> None:
        waiting = self.held_sales.waiting
        self.held_sales.judge(waiting, {c: Decimal(total) for c, total in totals.items()}, self.books)


def test_purchases_and_sales_of_what_was_traded_are_published_at_once() -> None:
    """The position counts on with each fill, and a sale of exactly all of it is explained."""
    master = Master({"USD": "1000"}, {"BTC": "1"})
    master.books = MasterBooks({"USD": Decimal(1000), "BTC": Decimal(1)}, LONG_AGO, ())
    assert master.holds(fill(1, Side.BUY, "2", "100"), fill(2, Side.SELL, "3", "100")) == []


def test_a_sale_beyond_the_position_holds_up_its_own_asset_only() -> None:
    """Later fills of BTC wait with it, so that they stay in order. ETH does not wait, but ETH that is paid with BTC does."""
    master = Master({"USD": "1000", "BTC": "9"})
    new = (
        fill(1, Side.SELL, "3", "100"),
        fill(2, Side.BUY, "1", "10", symbol="ETH/USD"),
        fill(3, Side.BUY, "1", "100"),
        fill(4, Side.BUY, "1", "0.1", symbol="ETH/BTC"),
        fill(5, Side.BUY, "1", "10", symbol="SOL/USD"),
    )
    assert master.holds(*new) == ["T1", "T3", "T4"]


def test_a_sale_of_coins_from_elsewhere_is_published_after_one_reading() -> None:
    """The account holds what the books expect after the sale, so no purchase is missing."""
    master, sale = Master({"USD": "1000", "BTC": "9"}), fill(1, Side.SELL, "3", "100")
    assert master.holds(sale) == ["T1"]
    assert master.held_sales.needs_reading
    master.is_read(USD="1300", BTC="6")
    assert not master.held_sales.needs_reading
    assert master.holds(sale, seconds=0.5) == []


def test_a_sale_whose_purchase_is_not_visible_yet_waits_for_it() -> None:
    """The account holds more than the books expect. A second reading, which the books follow by then, changes nothing."""
    master, sale = Master({"USD": "1000", "BTC": "9"}), fill(2, Side.SELL, "3", "100")
    assert master.holds(sale) == ["T2"]
    master.is_read(USD="1000", BTC="9")
    master.books.read({"USD": Decimal(1000), "BTC": Decimal(9)}, NOON + timedelta(seconds=9))
    assert master.holds(sale, seconds=1) == ["T2"]
    master.is_read(USD="1000", BTC="9")
    assert master.holds(sale, seconds=1.5) == ["T2"]
    assert master.holds(fill(1, Side.BUY, "3", "100"), sale, seconds=2) == []


def test_no_sale_waits_longer_than_three_seconds() -> None:
    """Also when no reading succeeds. It counts from the moment when the sale was first seen."""
    master, sale = Master({"USD": "1000"}), fill(1, Side.SELL, "3", "100")
    assert master.holds(sale, seconds=100) == ["T1"]
    assert master.holds(sale, seconds=102.9) == ["T1"]
    assert master.holds(sale, seconds=103) == []


def test_a_sale_of_more_than_the_account_holds_is_not_explained() -> None:
    """It may be within what was traded: then coins left the account and came back, or a purchase is missing."""
    master = Master({"USD": "1000", "BTC": "0.5"}, {"BTC": "1"})
    assert master.holds(fill(1, Side.SELL, "0.7", "100")) == ["T1"]


def test_remains_of_earlier_closes_are_no_unexplained_sale() -> None:
    """Up to a lot more than was traded goes with a full close; without a traded position nothing is explained."""
    for sold, held in (("0.51", []), ("0.52", ["T1"])):
        master = Master({"BTC": "0.6"}, {"BTC": "0.5"}, lot="0.01")
        assert master.holds(fill(1, Side.SELL, sold, "100")) == held
    assert Master({"BTC": "1"}, lot="0.01").holds(fill(1, Side.SELL, "0.01", "100")) == ["T1"]
    rest = (fill(1, Side.SELL, "0.495", "100"), fill(2, Side.SELL, "0.01", "100"))
    assert Master({"BTC": "0.6"}, {"BTC": "0.5"}, lot="0.01").holds(*rest) == ["T2"]


def test_a_sale_of_nearly_all_waits_for_the_fee_of_its_purchase() -> None:
    """The fee may have been taken in the coin, and then the sale closes everything. A part of it need not wait."""
    bought = fill(1, Side.BUY, "1", "100")
    for sold, held in (("0.9974", ["T2"]), ("1", []), ("0.5", [])):
        master = Master({"USD": "1000"})
        assert master.holds(bought, fill(2, Side.SELL, sold, "100"), unsure={"BTC"}) == held


def test_a_purchase_that_is_paid_with_a_coin_waits_as_a_sale_of_that_coin_does() -> None:
    """Within the traded position it is published at once. Beyond it, the fills of both coins wait, and others do not."""
    swap = fill(1, Side.BUY, "10", "0.05", symbol="ETH/BTC")
    assert Master({"USD": "0", "BTC": "1"}, {"BTC": "1"}).holds(swap) == []
    later = (
        fill(2, Side.SELL, "10", "2500", symbol="ETH/USD"),
        fill(3, Side.SELL, "0.1", "50000"),
        fill(4, Side.BUY, "1", "100", symbol="SOL/USD"),
    )
    assert Master({"USD": "0", "BTC": "1"}, {"BTC": "0.2"}).holds(swap, *later) == ["T1", "T2", "T3"]
