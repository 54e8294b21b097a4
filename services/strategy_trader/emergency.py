"""Sells a position at once when the best bid is too far below its entry price, or an operator wants it closed.

The check needs no candles, no cash and no cycle. The price list is updated every two seconds. A position that has lost
half of the limit by its last price is compared with the best bid of the order book, which is what a sale would get.
"""

import asyncio
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Final

from redis.exceptions import RedisError

from services.strategy_trader.dealer import Dealer
from services.strategy_trader.ports import Pause
from services.strategy_trader.repeat import logged, repeat
from services.strategy_trader.venue import TraderVenue
from shared.brokers.errors import BrokerError
from shared.brokers.registry import profile_of
from shared.domain.amounts import ZERO
from shared.domain.identity import DecisionId
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode
from shared.domain.strategy.decision import ExitReason
from shared.domain.strategy.exits import emergency_exit, is_emergency, whole_exit
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import OpensHere
from shared.domain.strategy.trader_account import TraderAccount
from shared.domain.symbol import Symbol
from shared.persistence.stored_traders import StoredPosition

UPDATE_SECONDS: Final = 2.0
"""Between two updates of the price list."""
_FAILURE: Final = "positions not checked against their limit"
_NEAR: Final = Decimal("0.5")
"""From this part of the limit on, the order book is read."""


class EmergencyWatch:
    """Watches the positions of one account."""

    def __init__(
        self,
        venue: TraderVenue,
        dealer: Dealer,
        parameters: ApexParameters = APEX,
    ) -> None:
        self._venue = venue
        self._dealer = dealer
        self._parameters = parameters
        self._begun: set[tuple[Symbol, bool]] = set()
        """The checks that have not ended: of which pair, and whether to flatten it."""
        self._last_stop: StopMode | None = None
        self._near = parameters.model_copy(update={"emergency": parameters.emergency * _NEAR})

    async def watch(self, stopping: asyncio.Event, pause: Pause) -> None:
        """Sell each position that has lost too much, and in the mode flatten every position. A halt sends nothing.

        It ends with `stopping`. Each position is checked by itself, so one whose book cannot be read holds up no other.
        """
        async with asyncio.TaskGroup() as tasks:
            await repeat(_FAILURE, partial(self._begin_checks, tasks), UPDATE_SECONDS, stopping, pause)

    async def _begin_checks(self, tasks: asyncio.TaskGroup) -> None:
        if not self._dealer.positions:
            return
        stop = await self._venue.stop()
        if stop is StopMode.FLATTEN and self._last_stop is not StopMode.FLATTEN:
            # An operator does not wait for the pause after a sale that filled nothing.
            self._dealer.sales.end_all()
        self._last_stop = stop
        held = [each for each in self._dealer.positions.values() if self._may_sell(each)]
        if stop is StopMode.HALT or not held:
            return
        prices = await self._venue.last_prices([each.symbol for each in held])
        flatten = stop is StopMode.FLATTEN
        for each in held:
            price, name = prices.get(each.symbol), (each.symbol, flatten)
            if name not in self._begun and (flatten or self._is_near(each.position, price)):
                self._begun.add(name)
                tasks.create_task(logged(_FAILURE, partial(self._check, each, price, flatten=flatten)))

    def _may_sell(self, stored: StoredPosition) -> bool:
        return not self._dealer.is_under_way(stored.symbol) and self._dealer.may_sell(stored.symbol)

    def _is_near(self, position: StrategyPosition, price: Decimal | None) -> bool:
        """Whether the order book has to be read. It is read too when there is no price."""
        return price is None or is_emergency(price, position.average_price, self._near)

    async def _check(self, stored: StoredPosition, price: Decimal | None, *, flatten: bool) -> None:
        try:
            if not await is_market_closed(self._venue, stored.position.instrument):
                await self._sell_if_due(stored, price, flatten=flatten)
        finally:
            self._begun.discard((stored.symbol, flatten))

    async def _sell_if_due(self, stored: StoredPosition, price: Decimal | None, *, flatten: bool) -> None:
        bid = await self._bid(stored, price, flatten=flatten)
        # The position may be sold meanwhile, or its order may be under way.
        found = self._dealer.positions.get(stored.symbol)
        if bid is None or found is None or not self._may_sell(found):
            return
        account = sale_account(found.position, bid, self._venue.market_now())
        sale = emergency_exit(found.position, account, self._parameters)
        if sale is None and flatten:
            sale = whole_exit(found.position, account, ExitReason.FLATTEN, self._parameters)
        if sale is None and (flatten or is_emergency(bid, found.position.average_price, self._parameters)):
            # A book that is nearly empty for a moment has a bid that says nothing about the value of the position.
            await self._dealer.write_off_rest(found.symbol, max(bid, price or found.position.average_price))
        if sale is not None:
            milliseconds = int(self._venue.now().timestamp() * 1000)
            pair = f"{found.symbol.base}-{found.symbol.quote}"
            name = DecisionId(f"{self._venue.broker.value}-{sale.reason.value}-{milliseconds}-{pair}")
            await self._dealer.sell_at_once(name, sale)

    async def _bid(self, stored: StoredPosition, price: Decimal | None, *, flatten: bool) -> Decimal | None:
        """The best bid. A position that is sold at any price does not wait for it for long."""
        try:
            async with asyncio.timeout(UPDATE_SECONDS if flatten else None):
                bid = await self._venue.best_bid(stored.position.instrument)
        except (BrokerError, RedisError, OSError):
            if not flatten:
                raise
            bid = None
        return bid if bid is not None or not flatten else price or stored.position.average_price


async def is_market_closed(venue: TraderVenue, instrument: Instrument) -> bool:
    """Whether the market is closed.

    If the broker does not say, the sale goes to the worker. It asks again, and sends if it gets no answer either.
    """
    try:
        async with asyncio.timeout(UPDATE_SECONDS):
            return await venue.closed_until(instrument) is not None
    except (BrokerError, RedisError, OSError):
        return False


def sale_account(
    position: StrategyPosition, bid: Decimal, now: datetime, *, margin_used_pct: Decimal | None = None
) -> TraderAccount:
    """Return what a sale that needs no candles and no cash has to know of the account."""
    instrument = position.instrument
    return TraderAccount(
        at=now,
        instrument=instrument,
        fees=profile_of(instrument.broker).fees_of(instrument.asset_class),
        route=OpensHere(position.minimum_profit),
        equity_usd=ZERO,
        best_bid=bid,
        margin_used_pct=margin_used_pct,
    )
