"""Prices the assets of a master by its broker's price list, by values that the operator named, and by its own fills."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from shared.brokers.price_routes import PriceRoutes
from shared.domain.accounts.equity import DOLLARS
from shared.domain.accounts.master_value import PRICE_LASTS, SAME_PRICE_WITHIN, MasterPrices
from shared.domain.accounts.price_list import NEVER, PriceList, PriceLists
from shared.domain.amounts import ONE
from shared.domain.fill import AccountFill


class MasterPriceList:
    """The prices of one master's assets. It sends no request to the broker."""

    def __init__(self, lists: PriceLists, routes: PriceRoutes, named: Mapping[str, Decimal | None]) -> None:
        """`named`: US dollars per unit, from the operator; None: ignore the asset."""
        self._lists = lists
        self._routes = routes
        self._named = {asset: value for asset, value in named.items() if value is not None}
        self._ignored = frozenset(asset for asset, value in named.items() if value is None)
        self._listed = PriceList()
        self._traded: dict[str, tuple[Decimal, datetime]] = {}
        """The last price at which the master traded an asset, with its time."""

    @property
    def is_listed(self) -> bool:
        """Whether there was a price list at the last `read`."""
        return not self._listed.is_empty

    async def read(self) -> None:
        """Take up the newest price list. Raises RedisError."""
        self._listed = await self._lists.read()

    async def of(self, assets: Collection[str], now: datetime) -> MasterPrices:
        """What is known of these assets now. They stay on the list from the next one on. Raises RedisError."""
        await self._lists.need(frozenset(assets))
        await self.read()
        return self.at(assets, now)

    def at(self, assets: Collection[str], now: datetime) -> MasterPrices:
        """What was known of these assets at the last `read`, and from fills. A fill counts where the list has no price.

        Prices older than an hour are returned as outdated.
        """
        listed = self._routes.dollar_prices(assets, self._listed.since(now - PRICE_LASTS))
        fills = {asset: self._traded[asset] for asset in assets if asset in self._traded}
        fresh = {asset: price for asset, (price, at) in fills.items() if now - at <= PRICE_LASTS}
        current = {**fresh, **listed, **self._named}
        unknown = [asset for asset in assets if asset not in current]
        old_fills = {asset: fills[asset][0] for asset in unknown if asset in fills}
        old_list = self._routes.dollar_prices(unknown, self._listed.since(NEVER))
        return MasterPrices(current=current, outdated={**old_fills, **old_list}, ignored=self._ignored)

    def learn_fills(self, fills: Iterable[AccountFill]) -> None:
        """Learn from each fill the price of its base, or of a quote currency that has no other price."""
        for fill in fills:
            base, quote = fill.symbol.currencies
            at = fill.executed_at
            quote_price = ONE if quote in DOLLARS else self._named.get(quote) or self._price(quote, at)
            if quote_price is not None:
                self._learn(base, fill.price * quote_price, at)
            elif fill.price > 0 and (base_price := self._price(base, at)) is not None:
                self._learn(quote, base_price / fill.price, at)

    def _learn(self, asset: str, price: Decimal, at: datetime) -> None:
        if asset not in DOLLARS and (asset not in self._traded or self._traded[asset][1] < at):
            self._traded[asset] = (price, at)

    def _price(self, asset: str, at: datetime) -> Decimal | None:
        """The price of an asset about when a fill was executed."""
        listed = self._routes.dollar_price(asset, self._listed.since(at - SAME_PRICE_WITHIN))
        if listed is not None:
            return listed
        price, learnt_at = self._traded.get(asset, (None, at))
        return price if abs(at - learnt_at) <= SAME_PRICE_WITHIN else None
