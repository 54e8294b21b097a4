"""Defines the facts of one broker that are known without a connection to it.

Each broker's folder holds its own profile, and `shared.brokers.registry` finds it by the name of the folder. A profile
imports neither ccxt nor alpaca-py, so the command line and the settings may read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from shared.brokers.limits import Rule
from shared.brokers.port.connection import BrokerConnection, NonceSource
from shared.brokers.price_routes import PriceRoutes
from shared.domain.accounts.key_forms import KeyPart, KeyRules
from shared.domain.amounts import ZERO
from shared.domain.fees import FeeRates, Fees, SmallAccountRule
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass
from shared.domain.strategy.routing import BrokerOffer

Connect = Callable[[str | None, NonceSource, str | None, float], BrokerConnection]
"""Base URL (None: the broker's own), nonces, proxy (None: none), seconds that a request may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerProfile:
    """One broker's facts."""

    broker: Broker
    title: str
    """The broker's name for messages, such as `Kraken`."""
    rate_rules: tuple[Rule, ...]
    """The documented limits of the lowest tier that trades, and what requests take of them."""
    fees: Fees
    """The default fees, which an account's own tier replaces."""
    fees_by_class: Mapping[AssetClass, Fees] = field(default_factory=dict)
    """The default fees of classes of assets that differ from `fees`."""
    opens_from_usd: Decimal = ZERO
    """With less equity, its fees are too high for the strategy to open anything while another broker is connected."""
    small_account_profit: Decimal = ZERO
    """The smallest profit that such an account aims at when no other broker is connected."""
    coin_rank: int = 0
    """For small accounts, a broker of a higher rank is chosen only when none of a lower one is connected."""
    keys: KeyRules
    cash_currencies: tuple[str, ...]
    """Currencies that count as dollars here. The first one is what most pairs are quoted in."""
    connect: Connect
    """Builds a connection without opening it."""
    price_routes: PriceRoutes
    """The pairs that price an asset in US dollars."""
    prices_by_name: bool = False
    """Whether the broker shows prices only of the assets that are named, and not all of them at once."""
    master_prefix: str = ""
    """How the variables of the master begin; empty: with the broker's name."""
    fill_ids_per_symbol: bool = False
    """Whether the broker numbers the fills of each symbol separately. The adapter then puts the symbol in front."""
    lends_for: frozenset[AssetClass] = frozenset(AssetClass)
    """The classes of assets for which a margin account may borrow. Others are paid in full."""
    purchase_fee_in_base: bool = False
    """Whether the fee of a purchase is taken from the coin (or from a third one), so that cash only pays the cost."""
    fee_doubt_lots: int = 1
    """Lots by which a position may differ from the broker's own books, because fees are rounded per execution."""

    @property
    def quote_currency(self) -> str:
        """The currency in which most pairs are quoted and accounts hold their dollars."""
        return self.cash_currencies[0]

    @property
    def variables_of_master(self) -> str:
        """The beginning of the names of the master's variables; `_API_KEY` and so on follow."""
        return self.master_prefix or self.broker.name

    @property
    def needs_passphrase(self) -> bool:
        return KeyPart.PASSPHRASE in self.keys.forms

    def cash_fee(self, asset_class: AssetClass) -> Decimal:
        """The fee of a purchase that cash has to pay on top of the cost, as a fraction of the cost."""
        return ZERO if self.purchase_fee_in_base else self.fees_of(asset_class).taker

    def fees_of(self, asset_class: AssetClass) -> Fees:
        """Return the default fees for one class of assets."""
        return self.fees_by_class.get(asset_class, self.fees)

    @property
    def small_account(self) -> SmallAccountRule | None:
        """The return that an entry of a small account must promise; None where fees are low."""
        if not self.opens_from_usd:
            return None
        return SmallAccountRule(below_equity=self.opens_from_usd, least_return_pct=self.small_account_profit * 100)

    def offer(self, *, connected: bool, rates: FeeRates | None = None) -> BrokerOffer:
        """Return what the broker means for an account that trades coins. `rates`: the account's own tier."""
        return BrokerOffer(
            broker=self.broker,
            fees=self.fees_of(AssetClass.COIN).with_rates(rates),
            connected=connected,
            opens_from_usd=self.opens_from_usd,
            small_account_profit=self.small_account_profit,
            rank=self.coin_rank,
        )
