"""Tests what the demo shows of the strategy: its counts come from the stored decisions, and fit 80 columns."""

import asyncio
import io
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from services.backtest.against_live import LiveComparison, SameCount
from services.demo import execution_costs, strategy_run
from services.demo.as_they_are import IN_DEMO
from services.demo.audit import AuditReport
from services.demo.figures import AsTheyAre, Figures, result_as_json
from services.demo.right_copies import SpecialResult
from services.demo.strategy_figures import StrategyFigures, strategy_figures
from services.demo.strategy_view import strategy_as_json, strategy_screen
from services.local_system.processes import MarketSpan
from shared.domain.capital.facts import ClosedTrade
from shared.domain.identity import Broker, MasterAccount
from shared.domain.strategy.decision import ExitReason, StrategyDecision, to_values
from shared.domain.strategy.exits import whole_exit
from shared.domain.strategy.parameters import APEX
from shared.indicators.decide import decide
from shared.indicators.window import Window
from shared.persistence.traders import StoredDecision
from tests.support.strategy import BTC_USD, INSTRUMENT, Zigzag, account, position

D = Decimal
CANDLES = Zigzag().candles(305)
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
SPAN = MarketSpan(datetime(2022, 1, 4, tzinfo=UTC), datetime(2022, 1, 6, tzinfo=UTC))
SAME = LiveComparison(SameCount(576, 576), SameCount(576, 576), SameCount(576, 576), ())
FIGURES = StrategyFigures(
    expected=576,
    candles=576,
    entries=7,
    rejected={"return_below_cost": 3},
    exits={ExitReason.STOP: 2, ExitReason.EMA_CROSS: 5},
    closed=7,
    profit=D("-54.7613"),
    left=0,
    restarts=0,
    compared=SAME,
)
NO_ERRORS = AuditReport(70, 60, 10, 0, 0, 0, 0, 0, 0, D(0), 0)


def decided(last: int, **changes: Any) -> StrategyDecision:
    window = CANDLES[last - 299 : last + 1]
    return decide(Window.of(window), changes.pop("position", None), account(window, **changes))


def stored(number: int, decision: StrategyDecision, outcome: str | None = None, **gate: Any) -> StoredDecision:
    return StoredDecision(
        decision_id=f"kraken-{number}",
        broker=Broker.KRAKEN,
        master_account=MasterAccount("master"),
        cycle=number,
        symbol=BTC_USD,
        kind=decision.decision,
        decided_at=decision.inputs.account.at,
        decision=to_values(decision),
        gate=gate or None,
        outcome=outcome,
    )


EXECUTION: dict[str, Any] = {
    "broker": "kraken",
    "quantity": 51.3,
    "methods": {
        "MARKET": {"orders": 1, "basis_points": 3.18},
        "TWAP": {"orders": 10, "basis_points": 0.27},
        "ICEBERG": {"orders": 12, "basis_points": -2.14},
    },
    "saved_basis_points": {"TWAP": 2.91, "ICEBERG": 5.32},
}


def copies() -> Figures:
    results = {each.name: SpecialResult() for each in IN_DEMO}
    return Figures(10, [], NO_ERRORS, {}, {}, {}, AsTheyAre(IN_DEMO, results, NO_ERRORS, 1))


def screen(strategy: dict[Broker, StrategyFigures], execution: dict[str, Any] = EXECUTION) -> str:
    console = Console(width=80, file=io.StringIO(), highlight=False)
    console.print(strategy_screen(SPAN, strategy, dict.fromkeys(strategy, copies()), execution))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_counts_follow_from_the_stored_decisions_and_their_outcomes() -> None:
    """A sale that filled nothing is no exit, and an entry that the gate rejected has its code."""
    held = position("0.5", "3100", "3060")
    sale = whole_exit(held, account(CANDLES[:302], best_bid=D(3050)), ExitReason.FLATTEN, APEX)
    assert sale is not None
    decisions = [
        stored(1, decided(299), "bought 0.1 BTC at 3152"),
        stored(2, decided(300)),
        stored(3, decided(301), "not entered: too small", reason_codes=["no_edge"]),
        stored(4, decided(302, position=held, best_bid=D(3050)), "sold 0.5 BTC at 3050"),
        stored(5, decided(303, position=held, best_bid=D(3050)), "nothing was executed: none"),
        stored(6, sale, "sold 0.5 BTC at 3050"),
    ]
    trades = [ClosedTrade(profit=D("3.5"), closed_at=NOON), ClosedTrade(profit=D(-10), closed_at=NOON)]
    found = strategy_figures(decisions, trades, left=1, expected=5, compared=SAME)
    assert (found.candles, found.entries, found.rejected) == (5, 1, {"no_edge": 1})
    assert found.exits == {ExitReason.EMERGENCY: 1, ExitReason.FLATTEN: 1}
    assert (found.closed, found.profit, found.left) == (2, D("-6.5"), 1)
    assert found.is_sound


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candles": 575}, "The backtest decides alike, but candles were left out."),
        (
            {"compared": replace(SAME, signals=SameCount(576, 575), differences=("filters and score: hold at 12:05",))},
            "The backtest decides otherwise.",
        ),
        ({"compared": replace(SAME, windows=SameCount(0, 0))}, "The backtest decides otherwise."),
    ],
)
def test_a_candle_that_is_missing_or_decided_otherwise_is_shown(change: dict[str, Any], said: str) -> None:
    """One broker is enough, and the comparison of nothing is no proof."""
    wrong = FIGURES._replace(**change)
    assert not wrong.is_sound
    text = screen({Broker.KRAKEN: FIGURES, Broker.OKX: wrong})
    assert said in text
    assert all(f"okx: {line}" in text for line in wrong.compared.differences)


def test_a_restarted_process_may_leave_out_candles() -> None:
    """A cycle that was cut short is not made up for. A candle that was never to be decided is still an error."""
    restarted = FIGURES._replace(candles=575, restarts=1)
    assert restarted.is_sound
    assert "Candles were left out around restarts, and the backtest decides" in screen({Broker.KRAKEN: restarted})
    assert not restarted._replace(candles=577).is_sound


def test_five_brokers_fit_on_80_columns() -> None:
    """Each row has a figure of each broker, and no figure is cut."""
    lines = screen(dict.fromkeys(Broker, FIGURES)).splitlines()
    assert max(map(len, lines)) <= 80
    rows = {" ".join(words[:-5]): words[-5:] for line in lines if len(words := line.split()) > 5}
    assert rows["candles decided, of all"] == ["576/576"] * 5
    assert rows["sold: ema cross"] == ["5"] * 5
    assert rows["their profit, USD"] == ["-54.76"] * 5
    assert rows["copies that were bought or sold"] == ["60"] * 5
    assert rows["same filters and score"] == ["576/576"] * 5
    assert "Each candle was decided once, and the backtest decides alike to the last digit." in lines


def test_the_cost_of_each_way_to_buy_is_shown() -> None:
    """A market order saves nothing, so nothing stands in that place."""
    text = screen({Broker.KRAKEN: FIGURES})
    assert "Buying 51.3 BTC, half of the first 20 levels of a paper kraken" in text
    words = [line.split() for line in text.splitlines()]
    assert [row for row in words if row and row[0] in EXECUTION["methods"]] == [
        ["MARKET", "1", "3.18"],
        ["TWAP", "10", "0.27", "2.91"],
        ["ICEBERG", "12", "-2.14", "5.32"],
    ]


async def test_a_comparison_that_fails_hides_nothing_of_the_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo has run for minutes by then. Its figures are shown, and why there are none of the ways to buy."""

    async def fail(*_: object) -> None:
        raise RuntimeError("TWAP: nothing is offered")

    monkeypatch.setattr(strategy_run, "execution_costs", fail)
    console = Console(file=io.StringIO())
    demo = strategy_run.StrategyDemo([], followers=1, candles=Path("none"), span=SPAN, seed=1, console=console)
    text = screen({Broker.KRAKEN: FIGURES}, await demo.compare_execution())
    assert "candles decided, of all" in text
    assert "The ways to buy could not be compared: TWAP: nothing is offered" in text


async def test_an_error_while_the_price_falls_is_raised_as_it_is() -> None:
    """A group of errors would be shown as a defect, and the price would go on falling."""
    prices: list[Decimal] = []

    class Desk:
        symbol = BTC_USD
        market = SimpleNamespace(instruments=lambda: {BTC_USD: INSTRUMENT})

        async def set_price(self, price: Decimal) -> None:
            prices.append(price)

    with pytest.raises(RuntimeError, match="ICEBERG"):
        async with execution_costs._dips(cast(Any, Desk()), D(3000)):
            raise RuntimeError("ICEBERG: nothing is offered")
    assert len(asyncio.all_tasks()) == 1


def test_the_json_object_has_the_figures_of_each_broker() -> None:
    """They come with those of the plain demo, and with the time that was traded."""
    figures = {Broker.KRAKEN: copies()}
    found = strategy_as_json(SPAN, {Broker.KRAKEN: FIGURES}, result_as_json(figures, {}), EXECUTION)
    assert found["market_from"] == "2022-01-04T00:00:00+00:00"
    assert found["execution"] == EXECUTION
    kraken = found["brokers"]["kraken"]
    assert kraken["copied"] == 60
    assert kraken["strategy"]["exits"] == {"stop": 2, "ema_cross": 5}
    assert kraken["strategy"]["profit_usd"] == "-54.7613"
    assert kraken["strategy"]["same_from_window"] == {"compared": 576, "equal": 576}
