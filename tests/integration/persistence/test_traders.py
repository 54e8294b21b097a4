"""Tests what is stored of a trader: each cycle has one owner, each fill moves a position once, decisions come back whole."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, event

from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId, FillId, MasterAccount
from shared.domain.strategy.decide import decide_again, decide_from
from shared.domain.strategy.decision import Enter, Exit, Hold, from_values
from shared.domain.strategy.entries import position_of
from shared.domain.strategy.execution.plans import SalePlan
from shared.domain.strategy.exits import emergency_exit
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.trader_state import TraderState
from shared.persistence.strategy.books import StrategyBooks, TraderReplaced
from shared.persistence.traders import HOLDS_KEPT_FOR, NEVER_SENT, NOT_COUNTED, TraderBooks, TraderStore
from tests.support.strategy import BTC_USD, INSTRUMENT, NOW, STARTS_AT, fill, inputs, position
from tests.support.strategy_orders import a_strategy_sale

KRAKEN, MASTER = Broker.KRAKEN, MasterAccount("master")


@pytest.fixture
def books(engine: Engine) -> TraderBooks:
    """The books of an account that was never traded."""
    return TraderStore(engine).of(KRAKEN, MASTER)


def test_a_cycle_is_taken_once_and_its_owner_alone_changes_the_state(engine: Engine, books: TraderBooks) -> None:
    """Eight processes ask for the same cycle, and one gets it. A later claim ends the right of its owner."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: books.take_cycle(7, f"process-{number}", NOW), range(8)))
    assert sum(state is not None for state in answers) == 1
    (trader,) = TraderStore(engine).all()
    state = TraderState().with_account(Decimal(100), Decimal(40)).after_error(7, NOW, "no answer")
    assert not books.store_state(7, "another process", NOW, state)
    assert books.store_state(7, trader.process, NOW, state)
    assert books.take_cycle(6, "late", NOW) is None
    books.claim("second", NOW)
    assert books.take_cycle(8, "second", NOW) == state
    assert not books.store_state(7, trader.process, NOW, TraderState())
    (trader,) = TraderStore(engine).all()
    assert (trader.cycle, trader.process, trader.state) == (8, "second", state)


def test_a_decision_comes_back_to_the_last_digit_and_is_computed_again_alike(
    engine: Engine, books: TraderBooks
) -> None:
    """Storing it a second time changes nothing, also when the second one differs."""
    decision = decide_from(inputs())
    books.record("first", 3, BTC_USD, decision, STARTS_AT)
    books.record("first", 4, BTC_USD, decide_from(inputs(volume=Decimal(1))), None)
    found = TraderStore(engine).decision("first")
    assert found is not None
    assert (found.cycle, found.kind, found.candle, found.outcome) == (3, "enter", STARTS_AT, None)
    stored = from_values(found.decision)
    assert stored == decision
    assert decide_again(stored) == decision
    assert books.decided_candles() == {BTC_USD: STARTS_AT}
    assert [each.decision_id for each in books.unfinished()] == ["first"]
    books.note_gate("first", {"recommendation": "ENTER"})
    books.note_outcome("first", "bought 1 BTC")
    found = TraderStore(engine).decision("first")
    assert found is not None
    assert (found.gate, found.outcome) == ({"recommendation": "ENTER"}, "bought 1 BTC")
    assert books.unfinished() == []
    assert TraderStore(engine).decision("second") is None


def test_the_decisions_of_a_broker_are_listed_oldest_first(engine: Engine, books: TraderBooks) -> None:
    """Those of another broker are not among them."""
    later, earlier = (decide_from(inputs(at=NOW + timedelta(minutes=minutes))) for minutes in (1, 0))
    books.record("later", 2, BTC_USD, later, STARTS_AT)
    books.record("earlier", 1, BTC_USD, earlier, STARTS_AT)
    TraderStore(engine).of(Broker.OKX, MASTER).record("other", 1, BTC_USD, earlier, STARTS_AT)
    found = TraderStore(engine).decisions(KRAKEN)
    assert [each.decision_id for each in found] == ["earlier", "later"]
    assert [from_values(each.decision) for each in found] == [earlier, later]


def test_old_holds_are_forgotten_and_entries_stay(engine: Engine, books: TraderBooks) -> None:
    """Doing nothing is kept for eight days."""
    books.record("entry", 1, BTC_USD, decide_from(inputs()), STARTS_AT)
    hold = decide_from(inputs(volume=Decimal(1)))
    assert isinstance(hold, Hold)
    books.record("hold", 2, BTC_USD, hold, STARTS_AT)
    books.forget_holds(NOW + HOLDS_KEPT_FOR)
    assert TraderStore(engine).decision("hold") is not None
    books.forget_holds(NOW + HOLDS_KEPT_FOR + timedelta(seconds=1))
    assert TraderStore(engine).decision("hold") is None
    assert TraderStore(engine).decision("entry") is not None


def test_each_fill_moves_a_position_once_and_the_last_one_closes_it(books: TraderBooks) -> None:
    """A repeated report changes nothing, and the closed position is a trade with its profit."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    before = position_of(entry)
    bought = fill(Side.BUY, "1", "1000")
    assert books.book_fills("opening", before, [bought]).quantity == 1
    assert books.book_fills("opening", before, [bought]).quantity == 1
    (stored,) = books.open_positions()
    assert (stored.decision_id, stored.symbol, stored.position.average_price) == ("opening", BTC_USD, 1000)
    books.raise_stop("opening", replace(stored.position, stop=Decimal(999), passed_first_target=True))
    books.raise_stop("opening", replace(stored.position, stop=Decimal(998)))
    (stored,) = books.open_positions()
    assert (stored.position.stop, stored.position.passed_first_target) == (999, True)
    half = fill(Side.SELL, "0.5", "1010")
    rest = fill(Side.SELL, "0.5", "1020").model_copy(update={"fill_id": FillId("rest")})
    assert books.book_fills("opening", before, [half]).sold == Decimal("0.5")
    assert not books.book_fills("opening", before, [half, rest]).is_open
    assert books.open_positions() == []
    (trade,) = books.closed_trades()
    assert (trade.profit, trade.closed_at) == (Decimal(15), rest.executed_at)
    books.raise_stop("opening", replace(stored.position, stop=Decimal(5000)))
    assert books.open_positions() == []


def test_two_processes_that_book_a_first_fill_wait_for_each_other(
    engine: Engine, books: TraderBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is paused in the middle. If the other one did not wait, the position could be sold and then be open again."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    paused, goes_on, move = Event(), Event(), books._moved

    def move_later(*arguments: Any) -> StrategyPosition:
        paused.set()
        assert goes_on.wait(10)
        return move(*arguments)

    monkeypatch.setattr(books, "_moved", move_later)
    other = TraderStore(engine).of(KRAKEN, MASTER)
    fills = [fill(Side.BUY, "1", "1000")]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(books.book_fills, "opening", position_of(entry), fills)
        assert paused.wait(10)
        second = pool.submit(other.book_fills, "opening", position_of(entry), fills)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        goes_on.set()
        assert first.result(10) == second.result(10)
    assert [each.position.quantity for each in other.open_positions()] == [1]


def test_an_account_never_has_two_open_positions_in_one_pair(books: TraderBooks) -> None:
    """The database refuses the second one, so a defect cannot double a position in silence."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    books.book_fills("one", position_of(entry), [fill(Side.BUY, "1", "1000")])
    with pytest.raises(Exception, match="one_open_per_symbol"):
        books.book_fills("two", position_of(entry), [fill(Side.BUY, "1", "1001")])
    books.write_off("one", NOW, "nothing is held")
    books.book_fills("two", position_of(entry), [fill(Side.BUY, "1", "1001")])
    assert [each.decision_id for each in books.open_positions()] == ["two"]
    assert [trade.profit for trade in books.closed_trades()] == [-1000]


def test_a_purchase_that_was_never_large_enough_to_be_sold_is_no_trade(books: TraderBooks) -> None:
    """Written off as one, it is closed and counts neither as a loss nor as a win. Any other write-off counts."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    for name in ("small", "lost"):
        bought = fill(Side.BUY, "1", "1000").model_copy(update={"fill_id": FillId(name)})
        books.book_fills(name, position_of(entry), [bought])
        books.write_off(name, NOW, f"{NOT_COUNTED}below the minimum" if name == "small" else "nothing is held")
    assert books.open_positions() == []
    assert [trade.profit for trade in books.closed_trades()] == [-1000]


def a_sale(quantity: str = "1") -> Exit:
    """The sale of a position whose price has fallen by two percent."""
    held = position(quantity, "1000", "995")
    account = replace(inputs().account, best_bid=Decimal(980))
    sale = emergency_exit(held, account)
    assert sale is not None
    return sale


def test_the_fills_of_a_sale_move_only_the_position_that_it_sold(books: TraderBooks) -> None:
    """The sale was decided on the first position. It is booked late, when the pair was bought again."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    sold = fill(Side.SELL, "1", "980").model_copy(update={"fill_id": FillId("late")})
    assert books.book_sale("one", [sold]) is None
    books.book_fills("one", position_of(entry), [fill(Side.BUY, "1", "1000")])
    books.record("sale", 1, BTC_USD, a_sale(), None)
    (left,) = books.unfinished()
    assert (left.decision_id, left.symbol, left.opened_by, left.decision()) == ("sale", BTC_USD, "one", a_sale())
    books.write_off("one", NOW, "below the minimum")
    books.book_fills("two", position_of(entry), [fill(Side.BUY, "1", "1001")])
    for _ in range(2):
        moved = books.book_sale("one", [sold])
        assert moved is not None
        assert moved.quantity == 0
    (stored,) = books.open_positions()
    assert (stored.decision_id, stored.position.quantity, stored.position.sold) == ("two", 1, 0)
    assert [(trade.profit, trade.closed_at) for trade in books.closed_trades()] == [(-20, NOW)]


def test_a_stop_that_is_raised_late_opens_no_written_off_position_again(books: TraderBooks) -> None:
    """A cycle decided on the position before it was written off. The position keeps its quantity, and stays closed."""
    entry = decide_from(inputs())
    assert isinstance(entry, Enter)
    held = books.book_fills("opening", position_of(entry), [fill(Side.BUY, "1", "1000")])
    books.write_off("opening", NOW, "the account holds nothing of it")
    books.raise_stop("opening", replace(held, stop=Decimal(999)))
    assert books.open_positions() == []
    assert [trade.closed_at for trade in books.closed_trades()] == [NOW]
    books.write_off("opening", NOW + timedelta(days=1), "again")
    assert [trade.closed_at for trade in books.closed_trades()] == [NOW]


def test_a_process_that_was_replaced_begins_no_execution(engine: Engine, books: TraderBooks) -> None:
    """It was paused, and another process has claimed the account meanwhile. What it had begun stays as it is."""
    plan = SalePlan(instrument=INSTRUMENT, quantity=Decimal(1))
    old, new = (StrategyBooks(engine, KRAKEN, MASTER, name) for name in ("old", "new"))
    with pytest.raises(TraderReplaced, match="another process"):
        old.begin(DecisionId("before the claim"), plan, NOW)
    books.claim("old", NOW)
    assert TraderStore(engine).all() == []
    old.begin(DecisionId("first"), plan, NOW)
    assert books.take_cycle(3, "old", NOW) is not None
    books.claim("new", NOW)
    with pytest.raises(TraderReplaced, match="another process"):
        old.begin(DecisionId("second"), plan, NOW)
    new.begin(DecisionId("third"), plan, NOW)
    assert [each.decision_id for each in new.under_way()] == ["first", "third"]
    assert not books.store_state(3, "old", NOW, TraderState())
    (trader,) = TraderStore(engine).all()
    assert (trader.cycle, trader.process) == (3, "new")


def test_a_process_that_was_replaced_does_not_take_the_account_back_by_a_cycle(
    engine: Engine, books: TraderBooks
) -> None:
    """It was paused, and begins its next cycle before it learns that it was replaced. Its successor may still sell."""
    new = StrategyBooks(engine, KRAKEN, MASTER, "new")
    books.claim("old", NOW)
    books.claim("new", NOW)
    assert books.take_cycle(3, "old", NOW) is not None
    new.begin(DecisionId("sale"), SalePlan(instrument=INSTRUMENT, quantity=Decimal(1)), NOW)
    assert not books.store_state(3, "old", NOW, TraderState())
    assert books.take_cycle(4, "new", NOW) is not None
    assert books.store_state(4, "new", NOW, TraderState())


def test_a_sale_that_waits_for_its_order_reads_no_fills(engine: Engine, books: TraderBooks) -> None:
    """It is read four times in a second, and an account may have years of fills. Before and after, they are read."""
    orders = StrategyBooks(engine, KRAKEN, MASTER)
    plan = SalePlan(instrument=INSTRUMENT, quantity=Decimal(1))
    name = DecisionId("sale")
    orders.begin(name, plan, NOW)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))

    def fills_read() -> int:
        statements.clear()
        orders.execution(name)
        return sum("strategy_order_events.filled_quantity >" in each for each in statements)

    assert fills_read() == 1
    orders.add_order(a_strategy_sale(name))
    assert fills_read() == 0


@pytest.mark.parametrize("outcome", [NEVER_SENT, "not sent: another process trades the account now"])
def test_a_decision_that_was_executed_after_all_is_unfinished(engine: Engine, books: TraderBooks, outcome: str) -> None:
    """Another process noted that it was not sent. Only those that have an execution are booked again."""
    for name in ("executed", "not executed"):
        books.record(name, 1, BTC_USD, a_sale(), None)
        books.note_outcome(name, outcome)
    assert books.unfinished() == []
    plan = SalePlan(instrument=INSTRUMENT, quantity=Decimal(1))
    StrategyBooks(engine, KRAKEN, MASTER).begin(DecisionId("executed"), plan, NOW)
    assert [each.decision_id for each in books.unfinished()] == ["executed"]
