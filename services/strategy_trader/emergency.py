"""Sells a position at once when the best bid is too far below its entry price, or an operator wants it closed.

The check needs no candles, no cash and no cycle. The price list is updated every two seconds. A position that has lost
half of the limit by its last price is compared with the best bid of the order book, which is what a sale would get.
"""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Final

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.dealer import CycleBooks, Dealer, InThread, Pause
from services.strategy_trader.venue import TraderVenue
from shared.brokers.errors import BrokerError
from shared.brokers.registry import profile_of
from shared.domain.amounts import ZERO
from shared.domain.identity import DecisionId
from shared.domain.stop import StopMode
from shared.domain.strategy.decision import Exit, ExitReason
from shared.domain.strategy.exits import emergency_exit, is_emergency, whole_exit
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.strategy.position import StrategyPosition
from shared.domain.strategy.routing import OpensHere
from shared.domain.strategy.trader_account import TraderAccount
from shared.domain.symbol import Symbol
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.traders import StoredPosition

UPDATE_SECONDS: Final = 2.0
_NEAR: Final = Decimal("0.5")
"""From this part of the limit on, the order book is read."""

log = structlog.get_logger()


class EmergencyWatch:
    """Watches the positions of one account. No failure ends `watch`."""

    def __init__(
        self,
        venue: TraderVenue,
        books: CycleBooks,
        dealer: Dealer,
        parameters: ApexParameters = APEX,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self._venue = venue
        self._books = books
        self._dealer = dealer
        self._parameters = parameters
        self._near = parameters.model_copy(update={"emergency": parameters.emergency * _NEAR})
        self._in_thread = in_thread

    async def watch(self, stopping: asyncio.Event, pause: Pause) -> None:
        """Check all positions on each update of the prices, until `stopping`. `pause` waits for some seconds."""
        while not stopping.is_set():
            try:
                await self.check()
            except (BrokerError, RedisError, DatabaseUnavailable, OSError) as error:
                log.warning("positions not checked against their limit", error=str(error) or type(error).__name__)
            except Exception:
                log.exception("positions not checked against their limit")
            await pause(stopping, UPDATE_SECONDS)

    async def check(self) -> None:
        """Sell each position that has lost too much, and in the mode flatten every position. A halt sends nothing."""
        held = [each for each in self._dealer.positions.values() if self._may_sell(each)]
        if not held:
            return
        stop = await self._venue.stop()
        if stop is StopMode.HALT:
            return
        prices = await self._venue.last_prices([each.symbol for each in held])
        flatten = stop is StopMode.FLATTEN
        due = held if flatten else [each for each in held if self._is_near(each.position, prices.get(each.symbol))]
        # Each position by itself: a pair whose book cannot be read holds up no other one.
        work = [self._check(each, prices.get(each.symbol), flatten=flatten) for each in due]
        found = await asyncio.gather(*work, return_exceptions=True)
        failed = [each for each in found if isinstance(each, BaseException)]
        if failed:
            raise failed[0]

    def _may_sell(self, stored: StoredPosition) -> bool:
        return not self._dealer.is_under_way(stored.symbol) and self._dealer.may_sell(stored.symbol)

    def _is_near(self, position: StrategyPosition, price: Decimal | None) -> bool:
        """Whether the order book has to be read. It is read too when there is no price."""
        return price is None or is_emergency(price, position.average_price, self._near)

    async def _check(self, stored: StoredPosition, price: Decimal | None, *, flatten: bool) -> None:
        bid = await self._bid(stored, price, flatten=flatten)
        # The position may be sold meanwhile, or its order may be under way.
        found = self._dealer.positions.get(stored.symbol)
        if bid is None or found is None or not self._may_sell(found):
            return
        account = self._account(found.position, bid, self._venue.market_now())
        sale = emergency_exit(found.position, account, self._parameters)
        if sale is None and flatten:
            sale = whole_exit(found.position, account, ExitReason.FLATTEN, self._parameters)
        if sale is not None:
            await self._sell(found.symbol, sale)

    async def _bid(self, stored: StoredPosition, price: Decimal | None, *, flatten: bool) -> Decimal | None:
        """The best bid. A position that is sold at any price does not wait for it."""
        try:
            bid = await self._venue.best_bid(stored.position.instrument)
        except (BrokerError, RedisError, OSError):
            if not flatten:
                raise
            bid = None
        return bid if bid is not None or not flatten else price or stored.position.average_price

    async def _sell(self, symbol: Symbol, sale: Exit) -> None:
        # Reserved before the record is stored, so that no other update decides on the position meanwhile.
        with self._dealer.reserved(symbol):
            milliseconds = int(self._venue.now().timestamp() * 1000)
            name = f"{self._venue.broker.value}-{sale.reason.value}-{milliseconds}-{symbol.base}-{symbol.quote}"
            decision_id = DecisionId(name)
            await self._in_thread(self._books.record, decision_id, 0, symbol, sale, None)
        if not self._dealer.sell(decision_id, sale):
            await self._in_thread(self._books.note_outcome, decision_id, "not sent: another order is under way")

    def _account(self, position: StrategyPosition, bid: Decimal, now: datetime) -> TraderAccount:
        instrument = position.instrument
        return TraderAccount(
            at=now,
            instrument=instrument,
            fees=profile_of(instrument.broker).fees_of(instrument.asset_class),
            route=OpensHere(position.minimum_profit),
            equity_usd=ZERO,
            best_bid=bid,
        )
