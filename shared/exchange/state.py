"""Holds everything that the exchange remembers; only events change it.

Events come from decisions of this run or from the journal of earlier runs. Both take the same path, so a restarted
exchange has the state of the one that was killed. Accounts, keys, orders and fills are there to be read.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.domain.symbol import Symbol
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.instruments import PaperInstrument
from shared.exchange.journal import Event, Journal, JournalUnusable
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import (
    DueAction,
    ExchangeOrderState,
    Fill,
    Order,
    OrderType,
)


def secret_bytes_of(api_secret: str) -> bytes:
    """The bytes that a base64 secret stands for, or its own characters when it is not base64."""
    try:
        return base64.b64decode(api_secret, validate=True)
    except (binascii.Error, ValueError):
        return api_secret.encode()


class State:
    """Records of one exchange. Every public method but `replay` applies one event and journals it."""

    def __init__(self, instruments: Mapping[Symbol, PaperInstrument], journal: Journal) -> None:
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, ApiKey] = {}
        self.orders: list[Order] = []
        self.orders_by_id: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.fills_by_id: dict[str, Fill] = {}
        self.pinned_prices: dict[Symbol, Decimal] = {}
        self.market_modes: dict[str, MarketMode] = {}
        self.largest_market_orders: dict[str, Decimal] = {}
        self.market_moved_to: int | None = None
        """Where a market in the past stands, in microseconds since 1970; None: it has not moved."""
        self._instruments = instruments
        self._journal = journal
        self._readers: dict[str, Callable[..., None]] = {
            "account": self._read_account,
            "balance": self._read_balance,
            "nonce": self._apply_nonce,
            "order": self._read_order,
            "fill": self._read_fill,
            "close": self._read_close,
            "price": self._read_price,
            "mode": self._read_mode,
            "largest": self._read_largest,
            "key": self._read_key,
            "access": self._read_access,
            "market": self._read_market,
        }

    def replay(self, event: Event) -> None:
        """Apply an event of the journal without writing it again; JournalUnusable when it means nothing."""
        try:
            self._readers[event[0]](*event[1:])
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
            raise JournalUnusable(f"--state: an event cannot be applied: {event!r:.200} ({error!r})") from error

    def add_account(
        self,
        name: str,
        balances: Mapping[str, Decimal],
        keys: list[tuple[str, str]],
        permissions: frozenset[str],
        *,
        shows_identity: bool = True,
    ) -> Account:
        """Open an account with its keys (api_key, api_secret)."""
        account = self.accounts[name] = Account(name, shows_identity=shows_identity)
        for currency, total in balances.items():
            account.holding(currency).total = total
        for api_key, api_secret in keys:
            self._open_key(account, api_key, api_secret, permissions)
        amounts = {currency: str(total) for currency, total in balances.items()}
        self._journal.record(["account", name, amounts, keys, sorted(permissions), shows_identity])
        return account

    def add_key(self, account: Account, api_key: str, api_secret: str, permissions: frozenset[str]) -> ApiKey:
        """Give an account one more key."""
        self._journal.record(["key", account.name, api_key, api_secret, sorted(permissions)])
        return self._open_key(account, api_key, api_secret, permissions)

    def _open_key(self, account: Account, api_key: str, api_secret: str, permissions: frozenset[str]) -> ApiKey:
        key = self.keys[api_key] = ApiKey(api_key, api_secret, secret_bytes_of(api_secret), account, permissions)
        account.api_keys.append(api_key)
        return key

    def change_access(self, key: ApiKey, permissions: frozenset[str], addresses: frozenset[str]) -> None:
        """Set what a key may do, and from where."""
        key.permissions, key.addresses = permissions, addresses
        self._journal.record(["access", key.api_key, sorted(permissions), sorted(addresses)])

    def set_balance(self, account: Account, currency: str, total: Decimal) -> None:
        account.holding(currency).total = total
        self._journal.record(["balance", account.name, currency, str(total)])

    def accept_nonce(self, key: ApiKey, nonce: int) -> None:
        key.last_nonce = nonce
        self._journal.record(["nonce", key.api_key, nonce])

    def add_order(self, order: Order) -> None:
        """Log an accepted order and hold what it says."""
        account = self.accounts[order.account]
        self.orders.append(order)
        self.orders_by_id[order.order_id] = order
        account.orders.append(order)
        account.open_orders[order.order_id] = order
        if order.client_order_id is not None:
            account.orders_by_client_id.setdefault(order.client_order_id, []).append(order)
        account.holding(self.spent_currency(order)).hold += order.hold
        self._journal.record(["order", _order_event(order)])

    def add_fill(self, fill: Fill, hold_after: Decimal) -> None:
        """Move the money of an execution; `hold_after` is what the order holds from now on."""
        order = fill.order
        account = self.accounts[order.account]
        instrument = self._instruments[order.symbol]
        sign = 1 if order.side is Side.BUY else -1
        account.holding(instrument.base).total += fill.quantity * sign
        account.holding(instrument.quote).total -= fill.cost * sign
        account.holding(fill.fee_currency).total -= fill.fee
        account.holding(self.spent_currency(order)).hold += hold_after - order.hold
        order.hold = hold_after
        order.filled += fill.quantity
        order.cost += fill.cost
        order.fee += fill.fee
        order.fills.append(fill)
        account.fills.append(fill)
        self.fills.append(fill)
        self.fills_by_id[fill.fill_id] = fill
        self._journal.record(
            [
                "fill",
                fill.fill_id,
                order.order_id,
                str(fill.price),
                str(fill.quantity),
                str(fill.cost),
                str(fill.fee),
                fill.fee_currency,
                fill.is_maker,
                fill.executed_at,
                str(hold_after),
            ]
        )

    def close_order(self, order: Order, state: ExchangeOrderState, closed_at: int, reason: str = "") -> None:
        """Give an open order its final state and release what it held."""
        account = self.accounts[order.account]
        account.holding(self.spent_currency(order)).hold -= order.hold
        order.hold = Decimal(0)
        order.state = state
        order.closed_at = closed_at
        order.reason = reason
        del account.open_orders[order.order_id]
        self._journal.record(["close", order.order_id, state.value, closed_at, reason])

    def pin_price(self, symbol: Symbol, price: Decimal | None) -> None:
        """Hold a pair's price where it is put; None lets it follow its feed again."""
        if price is None:
            self.pinned_prices.pop(symbol, None)
        else:
            self.pinned_prices[symbol] = price
        self._journal.record(["price", symbol, None if price is None else str(price)])

    def set_market_mode(self, symbol: Symbol, mode: MarketMode) -> None:
        self.market_modes[symbol] = mode
        self._journal.record(["mode", symbol, mode.value])

    def set_largest_market_order(self, symbol: Symbol, quantity: Decimal | None) -> None:
        """Set the pair's largest market order, in base currency; None: what the instrument says."""
        if quantity is None:
            self.largest_market_orders.pop(symbol, None)
        else:
            self.largest_market_orders[symbol] = quantity
        self._journal.record(["largest", symbol, None if quantity is None else str(quantity)])

    def move_market(self, moment: int) -> None:
        """Remember where a market in the past stands."""
        self._read_market(moment)
        self._journal.record(["market", moment])

    def spent_currency(self, order: Order) -> str:
        """What the order gives away and therefore holds."""
        instrument = self._instruments[order.symbol]
        return instrument.quote if order.side is Side.BUY else instrument.base

    # Reading an event back: the journal does not record while it is being replayed.

    def _read_account(
        self, name: str, balances: dict[str, str], keys: list[list[str]], permissions: list[str], shows_identity: bool
    ) -> None:
        amounts = {currency: Decimal(total) for currency, total in balances.items()}
        pairs = [(pair[0], pair[1]) for pair in keys]
        self.add_account(name, amounts, pairs, frozenset(permissions), shows_identity=shows_identity)

    def _read_key(self, name: str, api_key: str, api_secret: str, permissions: list[str]) -> None:
        self.add_key(self.accounts[name], api_key, api_secret, frozenset(permissions))

    def _read_access(self, api_key: str, permissions: list[str], addresses: list[str]) -> None:
        self.change_access(self.keys[api_key], frozenset(permissions), frozenset(addresses))

    def _read_market(self, moment: int) -> None:
        self.market_moved_to = moment

    def _read_mode(self, symbol: Symbol, mode: str) -> None:
        self.set_market_mode(symbol, MarketMode(mode))

    def _read_largest(self, symbol: Symbol, quantity: str | None) -> None:
        self.set_largest_market_order(symbol, None if quantity is None else Decimal(quantity))

    def _read_balance(self, name: str, currency: str, total: str) -> None:
        self.set_balance(self.accounts[name], currency, Decimal(total))

    def _apply_nonce(self, api_key: str, nonce: int) -> None:
        self.accept_nonce(self.keys[api_key], nonce)

    def _read_order(self, fields: dict[str, Any]) -> None:
        self.add_order(_order_of_event(fields))

    def _read_fill(
        self,
        fill_id: str,
        order_id: str,
        price: str,
        quantity: str,
        cost: str,
        fee: str,
        fee_currency: str,
        is_maker: bool,
        executed_at: int,
        hold_after: str,
    ) -> None:
        order = self.orders_by_id[order_id]
        fill = Fill(
            sequence=len(self.fills) + 1,
            fill_id=fill_id,
            order=order,
            price=Decimal(price),
            quantity=Decimal(quantity),
            cost=Decimal(cost),
            fee=Decimal(fee),
            fee_currency=fee_currency,
            is_maker=is_maker,
            executed_at=executed_at,
        )
        self.add_fill(fill, Decimal(hold_after))

    def _read_close(self, order_id: str, state: str, closed_at: int, reason: str) -> None:
        self.close_order(self.orders_by_id[order_id], ExchangeOrderState(state), closed_at, reason)

    def _read_price(self, symbol: Symbol, price: str | None) -> None:
        self.pin_price(symbol, None if price is None else Decimal(price))


_ORDER_FIELDS = (
    "sequence",
    "order_id",
    "account",
    "api_key",
    "symbol",
    "side",
    "type",
    "quote_sized",
    "client_order_id",
    "fee_in_base",
    "post_only",
    "reference",
    "accepted_at",
    "visible_at",
    "shows_fills",
    "due_at",
    "due_action",
    "time_in_force",
)


def _order_event(order: Order) -> dict[str, Any]:
    event: dict[str, Any] = {name: getattr(order, name) for name in _ORDER_FIELDS}
    event["quantity"] = str(order.quantity)
    event["hold"] = str(order.hold)
    event["accepted_price"] = str(order.accepted_price)
    event["limit_price"] = None if order.limit_price is None else str(order.limit_price)
    return event


def _order_of_event(fields: dict[str, Any]) -> Order:
    limit_price = fields["limit_price"]
    return Order(
        **{
            **fields,
            "side": Side(fields["side"]),
            "type": OrderType(fields["type"]),
            "due_action": DueAction(fields["due_action"]),
            "time_in_force": TimeInForce(fields["time_in_force"]),
            "quantity": Decimal(fields["quantity"]),
            "hold": Decimal(fields["hold"]),
            "accepted_price": Decimal(fields["accepted_price"]),
            "limit_price": None if limit_price is None else Decimal(limit_price),
        }
    )
