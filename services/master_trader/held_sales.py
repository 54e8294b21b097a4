"""Holds back a sale that the books do not explain, because its purchase may become visible later.

If the sale were published first, it would copy as nothing, and the purchase as a position that no sale closes. One
reading of the account answers the question: where it shows as much of the asset as the books, no purchase is missing.
Otherwise the sale is published after some seconds. Other assets of the master do not wait.
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Final

from services.master_trader.books import MasterBooks
from services.master_trader.unwind import held_fills, holdings_before
from shared.brokers.port.account import BrokerAccount, LearnsFees
from shared.domain.amounts import ZERO
from shared.domain.cash import closable_asset, may_close
from shared.domain.copying.traded_position import dust_of, quantity_taken
from shared.domain.fill import AccountFill, Side
from shared.persistence.ledger.master_fills import ObservedFill

NEARLY_ALL: Final = Decimal("0.99")
"""A sale of this share of the position may be all of it, if a fee of its purchase was taken in the coin."""


def closable_assets(new: Sequence[ObservedFill]) -> set[str]:
    """The assets of which some of `new` may close a part."""
    fills = [observed.fill for observed in new if may_close(observed.fill.symbol, observed.fill.side)]
    return {closable_asset(fill.symbol, fill.side) for fill in fills}


def unsure(account: BrokerAccount, fills: Sequence[AccountFill], assets: set[str]) -> set[str]:
    """The ones of `assets` in which the fee of a purchase is not known yet."""
    if not isinstance(account, LearnsFees):
        return set()
    bought = [fill for fill in fills if fill.side is Side.BUY and fill.symbol.base in assets]
    return {fill.symbol.base for fill in bought if not account.knows_fee(fill)}


class HeldSales:
    """Remembers which sales wait, since when, and what a reading said about them. Pure except for its memory."""

    def __init__(self, patience_seconds: float) -> None:
        """`patience_seconds`: how long a sale waits at most."""
        self._patience_seconds = patience_seconds
        self._seen_seconds: dict[str, float] = {}
        self._verdicts: dict[str, bool] = {}
        """Whether a reading explained a sale, by fill id."""
        self.waiting: tuple[ObservedFill, ...] = ()
        """The held fills of the last poll."""

    def hold(
        self,
        new: Sequence[ObservedFill],
        shown: Sequence[AccountFill],
        books: MasterBooks,
        traded: Mapping[str, Decimal],
        unsure: Collection[str],
        now_seconds: float,
    ) -> set[str]:
        """Return the ids of the fills in `new` that wait.

        `shown`: all fills of the window; `books` have counted them. `traded`: the traded positions before `new`,
        by asset. `unsure`: assets in which the fee of a purchase is not known yet.
        """
        self._seen_seconds = {o.fill.fill_id: self._seen_seconds.get(o.fill.fill_id, now_seconds) for o in new}
        self._verdicts = {name: verdict for name, verdict in self._verdicts.items() if name in self._seen_seconds}
        holdings = holdings_before(shown, [observed.fill for observed in new], books.totals)

        def explains(observed: ObservedFill, position: Decimal) -> bool:
            fill, dust = observed.fill, dust_of(observed.fill, observed.lot)
            asset, taken = closable_asset(fill.symbol, fill.side), quantity_taken(fill)
            waited_seconds = now_seconds - self._seen_seconds[fill.fill_id]
            if waited_seconds >= self._patience_seconds or self._verdicts.get(fill.fill_id, False):
                return True
            if asset in unsure and position * NEARLY_ALL <= taken < position - dust:
                return False
            # A lot more than was traded is no news: what earlier full closes left goes with a later one.
            most = position + dust if position else ZERO
            return taken <= min(most, holdings[fill.fill_id].get(asset, ZERO) + dust)

        held = held_fills(new, traded, explains)
        self.waiting = tuple(observed for observed in new if observed.fill.fill_id in held)
        return held

    @property
    def needs_reading(self) -> bool:
        """Whether a fill waits that no reading was taken for."""
        return any(observed.fill.fill_id not in self._verdicts for observed in self.waiting)

    def judge(self, waited: Sequence[ObservedFill], totals: Mapping[str, Decimal], books: MasterBooks) -> None:
        """Compare a reading (`totals`) with the books. `waited`: the fills that were held when it was taken.

        The first reading counts. After it, the books agree with the account in any case.
        """
        for observed in waited:
            fill = observed.fill
            agrees = books.agree(totals, closable_asset(fill.symbol, fill.side), dust_of(fill, observed.lot))
            self._verdicts.setdefault(fill.fill_id, agrees)
