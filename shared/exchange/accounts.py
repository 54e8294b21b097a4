"""Defines accounts, their balances and their keys.

A balance is a total and what open orders hold of it; free is the difference. Nothing here decides: the
exchange does, and these records change only when an event is applied.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from shared.exchange.orders import ZERO, Fill, Order


@dataclass(slots=True)
class Holding:
    """What an account has of one currency."""

    total: Decimal = ZERO
    hold: Decimal = ZERO

    @property
    def free(self) -> Decimal:
        return self.total - self.hold


@dataclass(slots=True, eq=False)
class Account:
    """One account. Orders and fills are in the order of acceptance and execution."""

    name: str
    holdings: dict[str, Holding] = field(default_factory=dict)
    api_keys: list[str] = field(default_factory=list)
    open_orders: dict[str, Order] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    orders_by_client_id: dict[str, list[Order]] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    shows_identity: bool = True
    """Whether the broker reports whose account this is, where it may leave that out (Kraken)."""

    def holding(self, currency: str) -> Holding:
        """The holding, created empty on first use."""
        holding = self.holdings.get(currency)
        if holding is None:
            holding = self.holdings[currency] = Holding()
        return holding

    def free(self, currency: str) -> Decimal:
        holding = self.holdings.get(currency)
        return ZERO if holding is None else holding.free


@dataclass(slots=True, eq=False)
class ApiKey:
    """One key of an account. `last_nonce` is the highest that was accepted."""

    api_key: str
    api_secret: str = field(repr=False)
    secret_bytes: bytes = field(repr=False)
    account: Account
    permissions: frozenset[str]
    last_nonce: int = 0
    addresses: frozenset[str] = frozenset()
    """The only IP addresses that may use the key; empty: all may."""

    def is_usable_from(self, address: str) -> bool:
        return not self.addresses or address in self.addresses
