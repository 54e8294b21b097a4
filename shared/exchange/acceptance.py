"""Checks whether an order may enter the book: its form, its minimums, its deadline and its id.

An order that may not enter raises a `Refused`, which says why.
"""

from decimal import Decimal

from shared.domain.fill import Side
from shared.exchange import refusals
from shared.exchange.accounts import Account
from shared.exchange.book import SimulatedBook
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market_modes import MarketMode, check_mode
from shared.exchange.orders import ExchangeOrderState, NewOrder, OrderType


def check_acceptable(
    new: NewOrder,
    account: Account,
    instrument: PaperInstrument,
    book: SimulatedBook,
    now: int,
    mode: MarketMode = MarketMode.OPEN,
) -> None:
    """Raise the refusal that a broker would give first; `now` in microseconds since 1970. Funds come later."""
    if new.deadline_at is not None and now >= new.deadline_at:
        raise refusals.DeadlinePassed("the request's deadline has passed")
    _check_form(new, instrument)
    check_mode(new, mode)
    _check_minimums(new, instrument, book)
    _check_largest(new, instrument, book)
    if new.client_order_id is not None and any(
        order.state is ExchangeOrderState.OPEN for order in account.orders_by_client_id.get(new.client_order_id, ())
    ):
        raise refusals.DuplicateClientOrderId(f"an open order has the client order id {new.client_order_id}")


def _check_form(new: NewOrder, instrument: PaperInstrument) -> None:
    step = instrument.cost_step if new.quote_sized else instrument.lot
    if new.quantity <= 0 or new.quantity % step:
        raise refusals.InvalidField("quantity", f"quantity must be a multiple of {step} above zero")
    is_refused_sale = new.side is Side.SELL and not new.may_sell_by_quote
    if new.quote_sized and (is_refused_sale or new.type is not OrderType.MARKET):
        raise refusals.InvalidField("quote_sized", "only market buys are sized in quote currency")
    if (new.type is OrderType.LIMIT) != (new.limit_price is not None):
        raise refusals.InvalidField("limit_price", "limit orders have a price, market orders have none")
    if new.limit_price is not None and (new.limit_price <= 0 or new.limit_price % instrument.price_tick):
        raise refusals.InvalidField("limit_price", f"price must be a multiple of {instrument.price_tick}")


def _size(new: NewOrder, book: SimulatedBook) -> tuple[Decimal, Decimal]:
    """Quantity and cost of the order, at its limit price or at the best price."""
    price = new.limit_price or (book.best_ask if new.side is Side.BUY else book.best_bid)
    return (new.quantity / price, new.quantity) if new.quote_sized else (new.quantity, new.quantity * price)


def _check_minimums(new: NewOrder, instrument: PaperInstrument, book: SimulatedBook) -> None:
    quantity, cost = _size(new, book)
    if quantity < instrument.minimum_quantity:
        raise refusals.BelowMinimumQuantity(f"at least {instrument.minimum_quantity} {instrument.base}")
    if cost < instrument.minimum_cost:
        raise refusals.BelowMinimumCost(f"at least {instrument.minimum_cost} {instrument.quote}")


def _check_largest(new: NewOrder, instrument: PaperInstrument, book: SimulatedBook) -> None:
    if new.type is not OrderType.MARKET:
        return
    quantity, cost = _size(new, book)
    largest = instrument.largest_market_quantity
    if largest is not None and quantity > largest:
        raise refusals.MarketOrderTooLarge(largest, f"at most {largest} {instrument.base}", in_quote=False)
    largest = instrument.largest_market_cost
    if largest is not None and cost > largest:
        raise refusals.MarketOrderTooLarge(largest, f"at most {largest} {instrument.quote}", in_quote=True)
