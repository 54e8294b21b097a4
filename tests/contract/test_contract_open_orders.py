"""Every gateway lists the open orders of an account, both those of nija and those of a person."""

from decimal import Decimal

from shared.brokers.port.orders import OrderReport, OrderStatus
from shared.domain.fill import Side
from tests.contract.brokers import Terms
from tests.contract.conftest import FAR_BELOW, ORDERS_BETWEEN_PAUSES, Trader
from tests.contract.person import AlpacaPerson, CcxtPerson
from tests.support.prices import dollar_prices


def by_id(orders: list[OrderReport]) -> dict[str, OrderReport]:
    found = {order.broker_order_id: order for order in orders}
    assert len(found) == len(orders)
    return dict(found)


async def test_where_nothing_is_open_there_is_an_empty_list(shared_trader: Trader) -> None:
    """An account has no open orders before its first order and after an order that was filled."""
    assert await shared_trader.account.open_orders() == []
    await shared_trader.until_final(await shared_trader.account.place(shared_trader.order()))
    assert await shared_trader.account.open_orders() == []


async def test_a_persons_limit_orders_are_listed_in_every_pair(
    shared_trader: Trader, person: AlpacaPerson | CcxtPerson, terms: Terms
) -> None:
    """Pair, side, quantity and id are those of the broker. A cancelled order leaves the list."""
    bitcoin, ether = terms.symbol, f"ETH/{terms.quote}"
    price = (await dollar_prices(shared_trader.connection, "ETH"))["ETH"].quantize(Decimal(1)) * 2
    buys = await person.limit_order(bitcoin, Side.BUY, "0.01", FAR_BELOW)
    sells = await person.limit_order(ether, Side.SELL, "0.5", str(price))
    found = by_id(await shared_trader.account.open_orders())
    assert found.keys() == {buys, sells}
    bought, sold = found[buys], found[sells]
    assert (bought.symbol, bought.side, bought.quantity) == (bitcoin, Side.BUY, Decimal("0.01"))
    assert (sold.symbol, sold.side, sold.quantity) == (ether, Side.SELL, Decimal("0.5"))
    for order in (bought, sold):
        assert (order.status, order.filled_quantity) == (OrderStatus.OPEN, Decimal(0))
    await shared_trader.account.cancel(bought.broker_order_id, bought.symbol)
    assert by_id(await shared_trader.account.open_orders()).keys() == {sells}


async def test_our_own_order_is_listed_with_its_id_and_what_is_filled(shared_trader: Trader) -> None:
    """A partly filled order is listed with its client order id and filled quantity. A filled order is not listed."""
    await shared_trader.until_final(await shared_trader.account.place(shared_trader.order()))
    shared_trader.fault("partial_fill", fraction="0.25", seconds=60)
    order = shared_trader.order("0.04")
    order_id = await shared_trader.account.place(order)
    (found,) = await shared_trader.account.open_orders()
    assert (found.broker_order_id, found.client_order_id) == (order_id, order.client_order_id)
    assert (found.quantity, found.filled_quantity) == (Decimal("0.04"), Decimal("0.01"))
    assert (found.symbol, found.side, found.status) == (shared_trader.symbol, Side.BUY, OrderStatus.OPEN)
    await shared_trader.account.cancel(order_id, shared_trader.symbol)
    assert await shared_trader.account.open_orders() == []


async def test_open_orders_are_all_of_them(
    shared_trader: Trader, person: AlpacaPerson | CcxtPerson, terms: Terms
) -> None:
    """All open orders are listed once, even if they fill more than one page."""
    placed = set()
    for number in range(terms.open_orders_page + 5):
        if number % ORDERS_BETWEEN_PAUSES == 0:
            shared_trader.paper.pause()
        placed.add(await person.limit_order(terms.symbol, Side.BUY, "0.0003", FAR_BELOW))
    assert by_id(await shared_trader.account.open_orders()).keys() == placed
