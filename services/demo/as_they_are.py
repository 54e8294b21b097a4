"""Names the followers of demo and chaos that are not plain: what each one holds, and what is right for it.

Plain followers hold cash of the master's currency. Real ones also hold coins of their own, other currencies, assets
without a price, or almost nothing; and a key may be refused for a while. Each kind is one follower per broker.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from shared.brokers.registry import profile_of
from shared.domain.copying.reasons import SkipReason
from shared.domain.identity import Broker, FollowerId

UNPRICED_ASSET: Final = "GIFT"
"""An asset that no broker lists."""


class SpecialFollower(NamedTuple):
    """A follower as it is. Its name is also that of its account at the paper broker."""

    name: FollowerId
    right: str
    """What is right for it, in about 20 characters for the last screen."""
    cash: Decimal = Decimal(0)
    """What it holds of the currency in which the master trades."""
    other_cash: Decimal = Decimal(0)
    """What it holds of another currency that counts as dollars."""
    assets: Mapping[str, Decimal] = {}
    """What it holds besides: coins of its own, or an asset without a price."""
    never: SkipReason | None = None
    """Why none of its opens is bought. None: it buys in its size, as far as its cash pays."""
    key_is_refused: bool = False
    """Whether the broker refuses its key for a while. Its opens may then be skipped, and its exits are made up."""

    def balances(self, broker: Broker) -> dict[str, Decimal]:
        """What its account at this broker holds at the start, by currency."""
        quote, other = profile_of(broker).cash_currencies[:2]
        held = {quote: self.cash, other: self.other_cash, **self.assets}
        return {currency: amount for currency, amount in held.items() if amount}


OWN_COINS: Final = SpecialFollower(
    FollowerId("own-coins"),
    "own coins stay",
    cash=Decimal(6_000),
    assets={"BTC": Decimal("0.2"), "ETH": Decimal(2)},
)
MIXED_CASH: Final = SpecialFollower(
    FollowerId("mixed-cash"), "cut to quote cash", cash=Decimal(600), other_cash=Decimal(5_400)
)
OTHER_CASH: Final = SpecialFollower(
    FollowerId("other-cash"),
    "no_quote_cash",
    other_cash=Decimal(6_000),
    never=SkipReason.NO_QUOTE_CASH,
)
LITTLE_CASH: Final = SpecialFollower(
    FollowerId("little-cash"),
    "no_quote_cash",
    cash=Decimal("0.90"),
    assets={"LTC": Decimal(60)},
    never=SkipReason.NO_QUOTE_CASH,
)
TOO_SMALL: Final = SpecialFollower(
    FollowerId("too-small"), "below_minimum", cash=Decimal("0.80"), never=SkipReason.BELOW_MINIMUM
)
UNPRICED: Final = SpecialFollower(
    FollowerId("unpriced"), "size without GIFT", cash=Decimal(3_000), assets={UNPRICED_ASSET: Decimal(5_000)}
)
REFUSED_KEY: Final = SpecialFollower(
    FollowerId("refused-key"), "exits are made up", cash=Decimal(4_000), key_is_refused=True
)

IN_DEMO: Final = (OWN_COINS, MIXED_CASH, OTHER_CASH, LITTLE_CASH, TOO_SMALL, UNPRICED)
"""Without a refused key. It is tried again after a minute, and the demo is over before that."""
IN_CHAOS: Final = (*IN_DEMO, REFUSED_KEY)
