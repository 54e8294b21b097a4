"""Sells what the strategy opened when a master account uses too much of its margin.

In the zone ORANGE it sells 30 % of each position, and in RED it closes the worst one, again and again. A round of orders
is stored in PostgreSQL before the first order, and the ids of its decisions follow from what is stored. So a process
that takes over sends what was not sent, and nothing twice.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import structlog
from redis.exceptions import RedisError

from services.strategy_trader.dealer import Dealer
from services.strategy_trader.emergency import is_market_closed, sale_account
from services.strategy_trader.ports import InThread, Results
from services.strategy_trader.venue import TraderVenue, VenueAccount, with_positions
from shared.brokers.errors import BrokerError
from shared.domain.amounts import plain
from shared.domain.capital.facts import AccountFacts, HeldPosition
from shared.domain.capital.margin import (
    MarginAction,
    MarginActionState,
    PositionCut,
    ZoneAction,
    is_demanded,
    order_name,
    plan_margin_action,
    with_final_orders,
)
from shared.domain.identity import DecisionId
from shared.domain.stop import StopMode
from shared.domain.strategy.decision import Exit, ExitReason
from shared.domain.strategy.exits import part_exit
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.symbol import Symbol

MARGIN_SECONDS: Final = 30.0
"""Between two checks. The account itself is read once a minute, and ten seconds after a fill."""
HANGS_AFTER: Final = timedelta(minutes=5)
"""An order that is under way for this time holds up no other position, for example while an exchange has halted a share."""
_REASONS: Final = {ZoneAction.REDUCE: ExitReason.MARGIN_REDUCE, ZoneAction.CLOSE: ExitReason.MARGIN_CLOSE}

MarginChange = Callable[[MarginActionState], MarginActionState]
MarginMemory = Callable[[MarginChange], MarginActionState | None]
"""Changes what is stored of the automatic action, and returns it. None: the account was never sampled. It blocks."""

log = structlog.get_logger()


class MarginWatch:
    """The automatic action of one account."""

    def __init__(
        self,
        venue: TraderVenue,
        dealer: Dealer,
        results: Results,
        memory: MarginMemory,
        parameters: ApexParameters = APEX,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self._venue = venue
        self._dealer = dealer
        self._results = results
        self._memory = memory
        self._parameters = parameters
        self._in_thread = in_thread
        self._under_way_since: dict[Symbol, datetime] = {}
        """When a check first found an order of each position under way."""

    async def check(self) -> None:
        """Go on with the last round of orders, or begin one if the zone of the account demands it.

        Nothing happens while an order of a position is under way, or the account was not read since the last one: its
        margin would be too high, and too much would be sold. An order that hangs holds up its own position only. A halt
        sends nothing, and `flatten` sells everything.
        """
        self._note_under_way()
        if not self._dealer.is_ready or await self._venue.stop() in (StopMode.HALT, StopMode.FLATTEN):
            return
        account = await self._venue.account()
        if account.facts.margin is None or not self._is_present(account):
            return
        own = await self._own_positions()
        facts = with_positions(account, own).facts
        state = await self._in_thread(self._memory, _as_it_is)
        if state is None:
            return
        if state.last is not None and not state.last.is_final and not await self._finish(state.last, facts):
            return
        # Another order of the strategy may have begun or ended since the account was read.
        if not self._is_present(account):
            return
        # A position whose last sale hangs or filled nothing waits. A round with it would hold up the others.
        ready = [each for each in own if self._may_sell(each.instrument.symbol)]
        saleable, now = with_positions(account, ready).facts, self._venue.now()
        after = await self._in_thread(self._memory, lambda stored: plan_margin_action(stored, saleable, now).state)
        if after is None or after.last is None or after.last.is_final:
            return
        log.warning(
            "margin action",
            action=after.last.kind.value,
            margin_used_pct=plain(round(facts.margin_used_pct, 4)),
            orders=after.last.orders,
        )
        await self._begin_orders(after.last, facts)

    def _is_present(self, account: VenueAccount) -> bool:
        """Whether the reading shows all that the strategy has done. What an order that hangs has filled is shown, too."""
        changed_at = self._dealer.changed_at
        is_new = changed_at is None or account.facts.read_at > changed_at
        under_way = [symbol for symbol in self._dealer.positions if self._dealer.is_under_way(symbol)]
        return is_new and all(self._hangs(symbol) for symbol in under_way)

    def _note_under_way(self) -> None:
        now = self._venue.now()
        under_way = [symbol for symbol in self._dealer.positions if self._dealer.is_under_way(symbol)]
        self._under_way_since = {symbol: self._under_way_since.get(symbol, now) for symbol in under_way}

    def _may_sell(self, symbol: Symbol) -> bool:
        return not self._hangs(symbol) and self._dealer.may_sell(symbol)

    def _hangs(self, symbol: Symbol) -> bool:
        since = self._under_way_since.get(symbol)
        return since is not None and self._venue.now() - since >= HANGS_AFTER

    async def _own_positions(self) -> list[HeldPosition]:
        """What the strategy opened, at the present prices. A position without a price cannot be planned.

        Positions whose market is closed are left out, because no sale of them would be sent.
        """
        stored = list(self._dealer.positions.values())
        closed = await asyncio.gather(*(is_market_closed(self._venue, each.position.instrument) for each in stored))
        held = {each.symbol: each for each, is_closed in zip(stored, closed, strict=True) if not is_closed}
        prices = await self._venue.last_prices(list(held))
        return [
            HeldPosition(
                instrument=each.position.instrument,
                quantity=each.position.quantity,
                price=prices.get(symbol),
                entry_price=each.position.average_price,
                opened_by_nija=True,
            )
            for symbol, each in held.items()
        ]

    async def _finish(self, action: MarginAction, facts: AccountFacts) -> bool:
        """Begin the orders that no process has begun. True: all have ended, or hang, and this is stored."""
        if await self._begin_orders(action, facts):
            return False
        unsold = [cut.symbol for cut in action.cuts if self._hangs(cut.symbol) or await self._sold_nothing(action, cut)]

        def ended(stored: MarginActionState) -> MarginActionState:
            # A process that was paused does not end the round of a later one.
            return with_final_orders(stored, unsold) if stored.last == action else stored

        await self._in_thread(self._memory, ended)
        return True

    async def _begin_orders(self, action: MarginAction, facts: AccountFacts) -> bool:
        """Begin what has no result. True: at least one order is under way, or still has to be begun."""
        begun = [await self._begin(action, cut, facts) for cut in action.cuts]
        return any(begun)

    async def _sold_nothing(self, action: MarginAction, cut: PositionCut) -> bool:
        result = await self._in_thread(self._results.result, self._name(action, cut))
        return result is not None and not result.fills

    async def _begin(self, action: MarginAction, cut: PositionCut, facts: AccountFacts) -> bool:
        """Send an order of a round. False: it has ended, or hangs, or is not needed any more."""
        decision_id = self._name(action, cut)
        if await self._in_thread(self._results.result, decision_id) is not None or self._hangs(cut.symbol):
            return False
        sale = await self._sale(action, cut, facts)
        if sale is None:
            log.info("margin order left out", symbol=cut.symbol, decision=decision_id)
            return False
        if self._dealer.may_sell(cut.symbol):
            await self._dealer.sell_at_once(decision_id, sale)
        return True

    async def _sale(self, action: MarginAction, cut: PositionCut, facts: AccountFacts) -> Exit | None:
        """The sale of a cut. None: it is not demanded any more, or the position is gone, is too small now or has a closed market."""
        bid = await self._bid(cut.symbol, facts)
        stored = self._dealer.positions.get(cut.symbol)
        now = self._venue.now()
        if stored is None or bid is None or not is_demanded(action, facts, now):
            return None
        position = stored.position
        account = sale_account(position, bid, self._venue.market_now(), margin_used_pct=facts.margin_used_pct)
        quantity = cut.quantity if action.kind is ZoneAction.REDUCE else position.quantity
        return part_exit(position, account, _REASONS[action.kind], quantity, self._parameters)

    async def _bid(self, symbol: Symbol, facts: AccountFacts) -> Decimal | None:
        """The best bid. A sale at any price does not wait for it: then the last price stands for it."""
        held = next((each for each in facts.own_positions if each.instrument.symbol == symbol), None)
        if held is None:
            return None
        try:
            bid = await self._venue.best_bid(held.instrument)
        except (BrokerError, RedisError, OSError):
            bid = None
        return held.price if bid is None else bid

    def _name(self, action: MarginAction, cut: PositionCut) -> DecisionId:
        return DecisionId(f"{self._venue.broker.value}-{order_name(action, cut)}")


def _as_it_is(stored: MarginActionState) -> MarginActionState:
    return stored
