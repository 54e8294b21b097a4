"""Builds accounts, markets and questions for the capital rules, so that a test names only the values it is about."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from shared.domain.capital.drawdown import DrawdownRecord, DrawdownState, first_record
from shared.domain.capital.facts import AccountFacts, ClosedTrade, HeldPosition, MarginFacts, MarketFacts
from shared.domain.capital.gate import recommend
from shared.domain.capital.recommendation import EntryRequest, GateInputs, ReasonCode
from shared.domain.fees import fees
from shared.domain.instrument import Instrument
from shared.domain.market_data import BookLevel, OrderBook
from shared.domain.symbol import Symbol
from tests.support.examples import NOW, an_instrument

DEEP = "10000000"
"""Quantity of a level that no test order moves."""


def instrument_of(base: str = "BTC", **changes: Any) -> Instrument:
    """An instrument of this base against US dollars."""
    return an_instrument(**{"symbol": f"{base}/USD", "base": base, **changes})


def a_position(base: str = "BTC", **changes: Any) -> HeldPosition:
    """One unit that nija bought at 100 US dollars, at the same price now."""
    fields: dict[str, Any] = {
        "instrument": instrument_of(base),
        "quantity": "1",
        "price": "100",
        "entry_price": "100",
        "opened_by_nija": True,
        "score": "50",
    }
    return HeldPosition(**{**fields, **changes})


def a_spot_account(equity: str | Decimal = "5000", **changes: Any) -> AccountFacts:
    """An account that holds only cash."""
    return AccountFacts(**{"equity": equity, "free_cash": equity, "read_at": NOW, **changes})


def a_margin_account(
    wallet: str | Decimal = "5000", used: str | Decimal = "0", most_leverage: str | Decimal = "5", **changes: Any
) -> AccountFacts:
    """An account whose margin is used to a certain amount."""
    margin = MarginFacts(wallet=wallet, used=used, most_leverage=most_leverage)
    return a_spot_account(wallet, margin=margin, **changes)


def levels(*pairs: tuple[str, str]) -> tuple[BookLevel, ...]:
    """Levels of a book from texts: price and quantity."""
    return tuple(BookLevel(Decimal(price), Decimal(quantity)) for price, quantity in pairs)


def a_book(bid: str = "100", ask: str = "100", quantity: str = DEEP, **changes: Any) -> OrderBook:
    """A book with one level on each side; by default there is no spread and no order moves it."""
    fields: dict[str, Any] = {
        "symbol": Symbol.parse("BTC/USD"),
        "bids": levels((bid, quantity)),
        "asks": levels((ask, quantity)),
        "at": NOW,
    }
    return OrderBook(**{**fields, **changes})


def a_market(**changes: Any) -> MarketFacts:
    """A market with an ATR of 2 % and the book above."""
    return MarketFacts(**{"book": a_book(), "atr_pct": "2", **changes})


def market_of_depth(depth: int, **changes: object) -> MarketFacts:
    """A market whose depth score is this number: its smaller side is worth 10,000 × 10^((depth − 20) / 40)."""
    value = Decimal(10_000) * (Decimal(10) ** (Decimal(depth - 20) / 40))
    quantity = str(value.quantize(Decimal("1e-9")) / 100)
    return a_market(book=a_book(quantity=quantity), **changes)


def trades(wins: int, losses: int, win: str = "3", loss: str = "2") -> tuple[ClosedTrade, ...]:
    """Closed trades, one a minute."""
    profits = [Decimal(win)] * wins + [-Decimal(loss)] * losses
    return tuple(
        ClosedTrade(profit=profit, closed_at=NOW - timedelta(minutes=index)) for index, profit in enumerate(profits)
    )


def a_request(**changes: Any) -> EntryRequest:
    """A good signal for BTC."""
    return EntryRequest(**{"instrument": instrument_of(), "signal_score": "85", "expected_return_pct": "5", **changes})


def gate_inputs(**changes: Any) -> GateInputs:
    """A good signal, a cash account of 5,000 US dollars, a deep market and no drawdown, with Kraken's fees."""
    account = changes.get("account", a_spot_account())
    fields: dict[str, Any] = {
        "request": a_request(),
        "account": account,
        "market": a_market(),
        "drawdown": first_record(account.equity),
        "fees": fees("0.0026", "0.0016", "0.001"),
    }
    return GateInputs(**{**fields, **changes})


def own_positions(count: int, score: str = "50") -> tuple[HeldPosition, ...]:
    """Small positions that nija opened."""
    return tuple(a_position("BTC", quantity="0.01", score=score) for _ in range(count))


def drawn_down(state: DrawdownState, equity: str = "5000") -> DrawdownRecord:
    """A record in this state, without an open breaker."""
    return first_record(Decimal(equity)).model_copy(update={"state": state})


def reason_codes(inputs: GateInputs) -> tuple[ReasonCode, ...]:
    """The reason codes of the gate's answer."""
    return recommend(inputs, NOW).reason_codes
