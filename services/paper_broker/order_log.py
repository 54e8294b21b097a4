"""Writes accounts, orders and fills as the admin API shows them: the ground truth that tests compare with.

Times are microseconds since 1970, amounts are text, quantities in base and costs in quote currency.
"""

from collections.abc import Sequence
from typing import Any

from shared.domain.amounts import plain
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.orders import Fill, Order


def shown_order(order: Order) -> dict[str, Any]:
    """An order as the log shows it."""
    return {
        "sequence": order.sequence,
        "account": order.account,
        "api_key": order.api_key,
        "txid": order.order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "quantity": plain(order.quantity),
        "quote_sized": order.quote_sized,
        "limit_price": None if order.limit_price is None else plain(order.limit_price),
        "filled": plain(order.filled),
        "cost": plain(order.cost),
        "fee": plain(order.fee),
        "fee_currency": order.symbol.split("/")[0 if order.fee_in_base else 1],
        "status": order.state.value,
        "reason": order.reason,
        "accepted_at": order.accepted_at,
        "closed_at": order.closed_at,
        "fills": [fill.fill_id for fill in order.fills],
    }


def shown_fill(fill: Fill) -> dict[str, Any]:
    """A fill as the log shows it."""
    order = fill.order
    return {
        "sequence": fill.sequence,
        "fill_id": fill.fill_id,
        "txid": order.order_id,
        "account": order.account,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "cost": plain(fill.cost),
        "fee": plain(fill.fee),
        "fee_currency": fill.fee_currency,
        "is_maker": fill.is_maker,
        "executed_at": fill.executed_at,
    }


def shown_account(account: Account, keys: Sequence[ApiKey]) -> dict[str, Any]:
    """An account with its keys, without their secrets."""
    return {
        "account": account.name,
        "balances": {
            currency: {"total": plain(holding.total), "hold": plain(holding.hold)}
            for currency, holding in account.holdings.items()
        },
        "api_keys": account.api_keys,
        "keys": [
            {
                "api_key": key.api_key,
                "permissions": sorted(key.permissions),
                "addresses": sorted(key.addresses),
                "last_nonce": key.last_nonce,
            }
            for key in keys
        ],
        "orders": len(account.orders),
        "open_orders": len(account.open_orders),
        "fills": len(account.fills),
    }
