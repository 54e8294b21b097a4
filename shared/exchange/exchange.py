"""Decides about orders, holds and money on the simulated exchange.

A request comes in canonical terms (`NewOrder`) and with its key. It is applied to `State` as events, or raises a
`Refused`. Every method takes its time from the clock once, so one request happens at one moment.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from shared.domain.fill import Side
from shared.domain.market_data import Candle, Interval
from shared.domain.symbol import Symbol
from shared.exchange import refusals
from shared.exchange.acceptance import check_acceptable
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.book import SimulatedBook, book_around, executable
from shared.exchange.charges import ChargeRates, Terms
from shared.exchange.instruments import PaperInstrument
from shared.exchange.market import Market
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import (
    AT_ONCE,
    ZERO,
    DueAction,
    ExchangeOrderState,
    ExecutionTerms,
    Fill,
    NewOrder,
    Order,
    OrderType,
)
from shared.exchange.state import State

_MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BuyingPower = Callable[["Exchange", Account, PaperInstrument], Decimal]
"""What an account may spend on purchases of an instrument. Without it, a purchase spends free money only."""
NO_LIQUIDITY = "Insufficient liquidity"
NO_FUNDS = "Insufficient funds"
USER_REQUESTED = "User requested"
NO_FEES = ChargeRates(taker=ZERO, maker=ZERO)


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The form of a broker's ids: both functions turn a sequence number into an id."""

    order_id: Callable[[int], str]
    fill_id: Callable[[int], str]


class Exchange:
    """One broker's matching and bookkeeping."""

    def __init__(
        self,
        *,
        instruments: Mapping[Symbol, PaperInstrument],
        market: Market,
        state: State,
        fee_rates: ChargeRates,
        identifiers: Identifiers,
        clock: Callable[[], int],
        market_clock: Callable[[], int] | None = None,
        buying_power: BuyingPower | None = None,
    ) -> None:
        """`market_clock`: the time of prices and candles, where it is not that of orders and logs."""
        self._buying_power = buying_power
        self.instruments, self.market, self.state = instruments, market, state
        self.fee_rates = fee_rates
        self.clock = clock
        self.market_clock = market_clock or clock
        self._identifiers = identifiers
        self._books: dict[Symbol, SimulatedBook] = {}
        self._resting: dict[Symbol, dict[str, Order]] = {}
        self._due: list[tuple[int, int, Order]] = []
        self._latest = 0
        for account in state.accounts.values():
            for order in account.open_orders.values():
                self._schedule(order)

    def price(self, symbol: Symbol) -> Decimal:
        """The price of a listed pair now."""
        return self.market.price(symbol, self.market_clock(), self.state.pinned_prices)

    def mode(self, symbol: Symbol) -> MarketMode:
        """The mode of a pair's market."""
        return self.state.market_modes.get(symbol, MarketMode.OPEN)

    def instrument(self, symbol: Symbol) -> PaperInstrument:
        """A listed pair with its present largest market order. Raises UnknownSymbol."""
        instrument = self._instrument(symbol)
        largest = self.state.largest_market_orders.get(symbol)
        return instrument if largest is None else replace(instrument, largest_market_quantity=largest)

    def _log_time(self) -> int:
        """The time for the logs. It never goes back, although a person may set the exchange's clock back."""
        self._latest = max(self._latest, self.clock())
        return self._latest

    def book(self, symbol: Symbol) -> SimulatedBook:
        """The order book of a listed pair now."""
        price = self.price(symbol)
        book = self._books.get(symbol)
        if book is None or book.last != price:
            book = self._books[symbol] = book_around(self.instruments[symbol], price)
        return book

    def candles(self, symbol: Symbol, interval: Interval, limit: int) -> list[Candle]:
        """The newest `limit` candles, oldest first, as far as there is history; the last one is not closed."""
        instrument, now = self._instrument(symbol), self.market_clock()
        length = int(interval.length.total_seconds())
        newest = now // _MICROSECONDS // length * length
        return [
            Candle(
                opened_at=_EPOCH + timedelta(seconds=timed.starts_at),
                interval=interval,
                open=timed.bar.open,
                high=timed.bar.high,
                low=timed.bar.low,
                close=timed.bar.close,
                base_volume=timed.bar.base_volume.quantize(instrument.lot),
                is_closed=timed.starts_at < newest,
            )
            for timed in self.market.bars(symbol, length, newest - (limit - 1) * length, now)
        ]

    def pin_price(self, symbol: Symbol, price: Decimal | None) -> None:
        """Move a pair's price and hold it there (None: let it move again); resting orders see it at once."""
        tick = self._instrument(symbol).price_tick
        if price is not None and (price < 2 * tick or price % tick):
            raise refusals.InvalidField("price", f"price of {symbol} must be a multiple of {tick}, and two at least")
        self.state.pin_price(symbol, price)
        self.advance()

    def place(self, key: ApiKey, new: NewOrder, execution: ExecutionTerms = AT_ONCE) -> Order:
        """Accept an order and execute what can be executed, or raise Refused with nothing changed."""
        # A deadline is compared with the exchange's clock, right or wrong.
        deadline_now, now = self.clock(), self._log_time()
        instrument = self.instrument(new.symbol)
        book = self.book(new.symbol)
        check_acceptable(new, key.account, instrument, book, deadline_now, self.mode(new.symbol))
        planned = executable(new.side, book, instrument, new.quantity, new.limit_price, quote_sized=new.quote_sized)
        if new.post_only and planned:
            raise refusals.WouldTake("a post-only order would be executed at once")
        terms = Terms(instrument, self._rates(instrument), new.side, new.fee_in_base)
        spent_currency = instrument.quote if new.side is Side.BUY else instrument.base
        free = self._spendable(key.account, instrument, new.side)
        need = terms.needed(new, planned)
        if need > free and new.side is Side.SELL and new.fee_in_base:
            # The preference is for the coin; who sells all of it pays from the proceeds.
            terms = replace(terms, fee_in_base=False)
            need = terms.needed(new, planned)
        if need > free:
            raise refusals.NotEnoughFunds(f"{need} {spent_currency} needed, {free} free")
        at_once = planned
        if execution.fraction < 1:
            quantity = sum((part for _, part in planned), ZERO) * execution.fraction
            at_once = executable(
                new.side, book, instrument, quantity.quantize(instrument.lot, ROUND_DOWN), new.limit_price
            )
        order = self._accepted(key, new, execution, fee_in_base=terms.fee_in_base, price=book.last, now=now)
        # The rest holds what the at-once part leaves of the need: never more than was checked to be free.
        rest_hold = max(need - terms.spent(at_once), ZERO)
        order.hold = ZERO if at_once else rest_hold
        self.state.add_order(order)
        for number, (price, quantity) in enumerate(at_once, start=1):
            self._fill(order, price, quantity, rest_hold if number == len(at_once) else ZERO, now, is_maker=False)
        self._settle_rest(order, execution, now)
        return order

    def cancel(self, order: Order, reason: str = USER_REQUESTED) -> None:
        """Cancel an open order; UnknownOrder when it is closed already."""
        if order.state is not ExchangeOrderState.OPEN:
            raise refusals.UnknownOrder(f"order {order.order_id} is not open")
        self._close(order, ExchangeOrderState.CANCELED, self._log_time(), reason)

    def advance(self) -> None:
        """Do what time and price have brought: due executions, and resting orders that the price has crossed."""
        if not self._due and not self._resting:
            return
        now = self._log_time()
        while self._due and self._due[0][0] <= now:
            order = heapq.heappop(self._due)[2]
            if order.state is ExchangeOrderState.OPEN:
                self._when_due(order, now)
        for symbol in list(self._resting):
            if not self.mode(symbol).executes:
                continue
            book = self.book(symbol)
            for order in list(self._resting[symbol].values()):
                self._cross(order, book, now)

    def _instrument(self, symbol: Symbol) -> PaperInstrument:
        instrument = self.instruments.get(symbol)
        if instrument is None:
            raise refusals.UnknownSymbol(f"{symbol} is not listed")
        return instrument

    def _spendable(self, account: Account, instrument: PaperInstrument, side: Side) -> Decimal:
        """What the account may spend now: base currency in a sale, quote currency in a purchase."""
        if side is Side.SELL:
            return account.free(instrument.base)
        lent = self._buying_power
        return account.free(instrument.quote) if lent is None else lent(self, account, instrument)

    def _terms(self, order: Order) -> Terms:
        instrument = self.instruments[order.symbol]
        return Terms(instrument, self._rates(instrument), order.side, order.fee_in_base)

    def _rates(self, instrument: PaperInstrument) -> ChargeRates:
        return NO_FEES if instrument.commission_free else self.fee_rates

    def _accepted(
        self, key: ApiKey, new: NewOrder, execution: ExecutionTerms, *, fee_in_base: bool, price: Decimal, now: int
    ) -> Order:
        sequence = len(self.state.orders) + 1
        due_at = None
        if execution.fraction < 1 and execution.rest_after_microseconds is not None:
            due_at = now + execution.rest_after_microseconds
        return Order(
            sequence=sequence,
            order_id=self._identifiers.order_id(sequence),
            account=key.account.name,
            api_key=key.api_key,
            symbol=new.symbol,
            side=new.side,
            type=new.type,
            quantity=new.quantity,
            quote_sized=new.quote_sized,
            limit_price=new.limit_price,
            client_order_id=new.client_order_id,
            fee_in_base=fee_in_base,
            post_only=new.post_only,
            reference=new.reference,
            accepted_at=now,
            visible_at=now + execution.invisible_microseconds,
            time_in_force=new.time_in_force,
            accepted_price=price,
            shows_fills=execution.shows_fills,
            due_at=due_at,
            due_action=DueAction.CANCEL if execution.rest_is_canceled else DueAction.FILL,
        )

    def _settle_rest(self, order: Order, execution: ExecutionTerms, now: int) -> None:
        """What becomes of an order after its executions at acceptance."""
        if self._is_complete(order):
            self._close(order, ExchangeOrderState.FILLED, now)
        elif execution.fraction < 1:
            is_over = order.is_immediate and bool(order.fills)
            if is_over or (execution.rest_is_canceled and order.due_at is None):
                self._close(order, ExchangeOrderState.CANCELED, now, NO_LIQUIDITY)
            else:
                self._schedule(order)
        elif not order.may_rest:
            self._close(order, ExchangeOrderState.CANCELED, now, NO_LIQUIDITY)
        else:
            self._schedule(order)

    def _is_complete(self, order: Order) -> bool:
        """Whether nothing is left that could be executed: less than two lots, for an order sized in quote."""
        if not order.quote_sized:
            return order.filled >= order.quantity
        return bool(order.fills) and order.remaining < order.fills[-1].price * self.instruments[order.symbol].lot * 2

    def _schedule(self, order: Order) -> None:
        """Put an open order where time or price will find it."""
        if order.due_at is not None:
            heapq.heappush(self._due, (order.due_at, order.sequence, order))
        elif order.type is OrderType.LIMIT:
            self._resting.setdefault(order.symbol, {})[order.order_id] = order

    def _when_due(self, order: Order, now: int) -> None:
        if order.due_action is DueAction.CANCEL:
            self._close(order, ExchangeOrderState.CANCELED, now, NO_LIQUIDITY)
            return
        instrument, terms = self.instruments[order.symbol], self._terms(order)
        account = self.state.accounts[order.account]
        planned = executable(
            order.side,
            self.book(order.symbol),
            instrument,
            order.remaining,
            order.limit_price,
            quote_sized=order.quote_sized,
        )
        for price, quantity in planned:
            # The price has moved since the order was checked: execute what is affordable now.
            available = self._spendable(account, instrument, order.side) + order.hold
            part = quantity
            if terms.spent([(price, quantity)]) > available:
                unit = price if order.side is Side.BUY else Decimal(1)
                part = (available / (unit * (1 + terms.rates.taker))).quantize(instrument.lot, ROUND_DOWN)
                part -= instrument.lot
            if part <= 0:
                break
            hold_after = max(order.hold - terms.spent([(price, part)]), ZERO)
            self._fill(order, price, part, hold_after, now, is_maker=False)
            if part < quantity:
                break
        if self._is_complete(order):
            self._close(order, ExchangeOrderState.FILLED, now)
        elif not order.may_rest:
            self._close(order, ExchangeOrderState.CANCELED, now, NO_FUNDS if planned else NO_LIQUIDITY)
        else:
            self._resting.setdefault(order.symbol, {})[order.order_id] = order

    def _cross(self, order: Order, book: SimulatedBook, now: int) -> None:
        """Fill a resting order as maker at its own price once the market has reached it."""
        limit = order.limit_price
        if (
            limit is None
            or book.last == order.accepted_price
            or (book.best_ask > limit if order.side is Side.BUY else book.best_bid < limit)
        ):
            return
        self._fill(order, limit, order.remaining, ZERO, now, is_maker=True)
        self._close(order, ExchangeOrderState.FILLED, now)

    def _fill(
        self, order: Order, price: Decimal, quantity: Decimal, hold_after: Decimal, now: int, *, is_maker: bool
    ) -> None:
        terms = self._terms(order)
        cost = terms.cost(price, quantity)
        sequence = len(self.state.fills) + 1
        fill = Fill(
            sequence=sequence,
            fill_id=self._identifiers.fill_id(sequence),
            order=order,
            price=price,
            quantity=quantity,
            cost=cost,
            fee=terms.fee(quantity, cost, is_maker=is_maker),
            fee_currency=terms.fee_currency,
            is_maker=is_maker,
            executed_at=now,
        )
        self.state.add_fill(fill, hold_after)

    def _close(self, order: Order, state: ExchangeOrderState, now: int, reason: str = "") -> None:
        self.state.close_order(order, state, now, reason)
        resting = self._resting.get(order.symbol)
        if resting is not None:
            resting.pop(order.order_id, None)
            if not resting:
                del self._resting[order.symbol]
