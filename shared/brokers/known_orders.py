"""Shows whether a key opens the account in which an order was placed, where the broker reports no identity."""

from shared.brokers.errors import NotVisibleYet, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol


async def has_order(account: BrokerAccount, broker_order_id: BrokerOrderId, symbol: Symbol) -> bool:
    """Whether the account has the order. Raises the errors of the broker that leave this open."""
    try:
        await account.order(broker_order_id, symbol)
    except (NotVisibleYet, Rejected):
        return False
    return True
