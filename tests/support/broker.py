"""Provides an account and a connection in memory that implement the broker port.

The account executes each order at once at the given price, and its balances, fills and fees agree. It keeps every fill
and hides a fill as long as the test wants. It never fails; tests that need failures wrap it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from shared.brokers.clock import BrokerClock
from shared.brokers.port.account import BrokerAccount, KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.market_data import MarketData
from shared.brokers.port.orders import OrderReport, OrderRequest, OrderStatus
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, BrokerOrderId
from shared.domain.instrument import Instrument
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol


@dataclass
class FakeAccount:
    """Implements `BrokerAccount`. Only the test and its trades move `clock`."""

    totals: dict[str, Decimal]
    prices: dict[str, Decimal]
    clock: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)
    fee_rate: Decimal = Decimal("0.0026")
    fill_prefix: str = "T"
    fills: list[AccountFill] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    """The ids of fills that the broker does not show yet, although the balances include them."""
    orders: dict[str, OrderReport] = field(default_factory=dict)
    traded: int = 0

    def at(self, priority: Priority) -> "FakeAccount":
        """The same account, because nothing is limited here."""
        return self

    def trade(self, side: Side, symbol: str, quantity: str | Decimal, *, hidden: bool = False) -> AccountFill:
        """Execute at the present price, one second after the last trade. The fee is in the quote currency."""
        self.clock += timedelta(seconds=1)
        base, _, quote = symbol.partition("/")
        self.traded += 1
        amount, price = Decimal(quantity), self.prices[base]
        cost = amount * price
        fill = AccountFill(
            fill_id=f"{self.fill_prefix}{self.traded}",
            order_id=f"O{self.fill_prefix}{self.traded}",
            symbol=symbol,
            side=side,
            price=price,
            quantity=amount,
            cost=cost,
            fee=cost * self.fee_rate,
            fee_currency=quote,
            executed_at=self.clock,
        )
        sign = 1 if side is Side.BUY else -1
        self.totals[base] = self.totals.get(base, ZERO) + sign * amount
        self.totals[quote] = self.totals.get(quote, ZERO) - sign * cost - fill.fee
        self.fills.append(fill)
        if hidden:
            self.hidden.add(fill.fill_id)
        return fill

    def worth(self) -> Decimal:
        """The equity in US dollars at the present prices."""
        return sum((t * self.prices.get(c, Decimal(1)) for c, t in self.totals.items()), ZERO)

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        fill = self.trade(order.side, order.symbol, order.quantity)
        self.orders[fill.order_id] = OrderReport(
            broker_order_id=BrokerOrderId(fill.order_id),
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            status=OrderStatus.DONE,
            quantity=order.quantity,
            filled_quantity=fill.quantity,
            cost=fill.cost,
            fee=fill.fee,
            fee_currency=fill.fee_currency,
        )
        return BrokerOrderId(fill.order_id)

    async def order(self, broker_order_id: BrokerOrderId, symbol: str) -> OrderReport:
        return self.orders[broker_order_id]

    async def look_up(self, client_order_id: str, symbol: str, since: datetime) -> OrderReport | None:
        return next((o for o in self.orders.values() if o.client_order_id == client_order_id), None)

    async def open_orders(self) -> list[OrderReport]:
        """Return no order, because every order is executed at once."""
        return []

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: str) -> None:
        """Do nothing, because every order is executed at once."""

    async def balances(self) -> dict[str, Balance]:
        return {currency: Balance(free=total, total=total) for currency, total in self.totals.items() if total != 0}

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        return [f for f in self.fills if f.executed_at >= since and f.fill_id not in self.hidden]

    async def key_permissions(self) -> KeyPermissions:
        return KeyPermissions(may_trade=True, may_withdraw=False)


@dataclass
class FakeConnection:
    """Implements `BrokerConnection` for one account."""

    the_account: BrokerAccount
    prices_now: Mapping[str, Decimal]
    broker: Broker = Broker.KRAKEN
    request_validity_seconds: float = 10.0
    lookup_margin_seconds: float = 5.0
    clock: BrokerClock = field(default_factory=BrokerClock)
    opened: int = 0
    closed: int = 0

    async def open(self) -> None:
        self.opened += 1

    async def reload(self) -> None:
        """Do nothing, because the listed instruments never change."""

    async def close(self) -> None:
        self.closed += 1

    def instruments(self) -> Mapping[str, Instrument]:
        return {
            f"{base}/USD": Instrument(
                broker=self.broker,
                symbol=f"{base}/USD",
                base=base,
                quote="USD",
                lot=Decimal("0.00000001"),
                price_tick=Decimal("0.1"),
            )
            for base in self.prices_now
        }

    @property
    def market_data(self) -> MarketData:
        """Fail, because this fake has no market data."""
        raise AssertionError("no test may read candles or books through this fake")

    def account(self, credentials: Credentials) -> BrokerAccount:
        return self.the_account

    async def price_list(
        self, needed: Collection[str] = (), priority: Priority = Priority.FOREGROUND
    ) -> dict[Symbol, Decimal]:
        return {Symbol(asset, "USD"): price for asset, price in self.prices_now.items()}


def _implements_the_port(account: FakeAccount, connection: FakeConnection) -> tuple[BrokerAccount, BrokerConnection]:
    # For the type checker, which reports an error here when the port changes and the fakes do not follow.
    return account, connection
