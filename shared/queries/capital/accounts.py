"""Chooses the account that a question is about, and reads what it holds and is worth from Redis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from shared.brokers.registry import profile_of
from shared.domain.accounts.broker_health import is_funded
from shared.domain.accounts.master_value import PRICE_LASTS, MasterPrices, UnknownEquity
from shared.domain.accounts.price_list import NEVER
from shared.domain.amounts import ONE, parse_amount
from shared.domain.capital.facts import AccountFacts
from shared.domain.capital.holdings import CASH, AccountHoldings, account_facts
from shared.domain.capital.sampling import ValuedAccount
from shared.domain.fees import Fees
from shared.domain.identity import Broker, MasterAccount
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.messaging.keys import HOLDINGS_FIELD, BrokerKeys
from shared.messaging.price_list import LISTED_AT_FIELD, parse_price_list
from shared.queries.brokers import own_rates
from shared.queries.capital.errors import AccountNotRead, NoSuchAccount
from shared.queries.capital.sources import AccountName
from shared.queries.connections import Connections


@dataclass(frozen=True, slots=True)
class CapitalAccount:
    """A master account as it is now."""

    name: AccountName
    reading: ValuedAccount
    master: Mapping[str, str]
    """The hash `master`."""

    @property
    def facts(self) -> AccountFacts:
        return self.reading.account

    def facts_for(self, instrument: Instrument) -> AccountFacts:
        """The account as it is for a purchase of the instrument: it has no leverage where the broker lends nothing."""
        margin = self.facts.margin
        if margin is None or instrument.asset_class in profile_of(self.name.broker).lends_for:
            return self.facts
        return self.facts.model_copy(update={"margin": margin.model_copy(update={"most_leverage": ONE})})

    def fees_of(self, instrument: Instrument) -> Fees:
        """What trading the instrument costs here."""
        fees = profile_of(self.name.broker).fees_of(instrument.asset_class)
        # A reported tier replaces the usual fees, and not those of a class that has its own.
        has_own = instrument.asset_class in profile_of(self.name.broker).fees_by_class
        return fees if has_own else fees.with_rates(own_rates(self.master))


def choose_account(connections: Connections, broker: Broker | None = None, account: str | None = None) -> AccountName:
    """Return the account of a broker, or else the only or first funded master account.

    Raises NoSuchAccount and AccountNotRead. Raises RedisError when the Redis of a named broker does not answer, or when
    no account was found and a Redis did not answer.
    """
    masters: dict[AccountName, Mapping[str, str]] = {}
    away: dict[Redis, Exception] = {}
    for each in connections.redis if broker is None else (broker,):
        client = connections.redis_of(each)
        if client in away:
            continue
        try:
            fields = _master(client, BrokerKeys(each))
        except (RedisError, OSError) as error:
            away[client] = error
            continue
        if "master_account" in fields:
            masters[AccountName(broker=each, account=MasterAccount(fields["master_account"]))] = fields
    trouble = next(iter(away.values()), None)
    if trouble is not None and not any(account in (None, name.account) for name in masters):
        raise trouble
    if account is not None and not any(name.account == account for name in masters):
        known = ", ".join(map(str, masters)) or "there is none yet"
        place = f" at {broker.value}" if broker else ""
        raise NoSuchAccount(f"there is no account {account!r}{place}; accounts: {known}")
    found = [name for name in masters if account in (None, name.account) and HOLDINGS_FIELD in masters[name]]
    if not found:
        place = f" at {broker.value}" if broker else ""
        raise AccountNotRead(f"no master account{place} has been read yet")
    return next((name for name in found if _is_funded(masters[name])), found[0])


def read_account(connections: Connections, name: AccountName, now: datetime) -> CapitalAccount:
    """Return what an account holds and is worth now. Raises NoSuchAccount, AccountNotRead, RedisError."""
    redis, keys = connections.redis_of(name.broker), BrokerKeys(name.broker)
    master = _master(redis, keys)
    if master.get("master_account") != name.account:
        raise NoSuchAccount(f"there is no account {name.account!r} at {name.broker.value}")
    if HOLDINGS_FIELD not in master:
        raise AccountNotRead(f"the account {name} has not been read yet")
    holdings = AccountHoldings.model_validate_json(master[HOLDINGS_FIELD])
    prices = _prices(redis, keys, holdings, now)
    facts = account_facts(holdings, prices, _instruments(redis, keys, holdings))
    if isinstance(facts, UnknownEquity):
        assets = ", ".join(facts.unpriced)
        raise AccountNotRead(f"the equity of {name} is unknown, because there is no current price of {assets}")
    return CapitalAccount(name, ValuedAccount(account=facts, holdings=holdings, price_of=prices.of), master)


def listed_instruments(redis: Redis, keys: BrokerKeys, symbols: Sequence[Symbol]) -> dict[Symbol, Instrument]:
    """Those of some pairs that are listed, and whose quantities and prices can be rounded. Raises RedisError."""
    if not symbols:
        return {}
    stored: Any = redis.hmget(keys.instruments, symbols)
    found = {each: Instrument.model_validate_json(text) for each, text in zip(symbols, stored, strict=True) if text}
    return {each: known for each, known in found.items() if known.lot > 0 and known.price_tick > 0}


def _prices(redis: Redis, keys: BrokerKeys, holdings: AccountHoldings, now: datetime) -> MasterPrices:
    """The prices of what an account holds: those of the operator, and the price list of the broker."""
    routes = profile_of(keys.broker).price_routes
    fields = [LISTED_AT_FIELD, *sorted(routes.pairs_for(holdings.assets))]
    stored: Any = redis.hmget(keys.prices, fields)
    listed = parse_price_list({field: text for field, text in zip(fields, stored, strict=True) if text})
    current = routes.dollar_prices(holdings.assets, listed.since(now - PRICE_LASTS))
    old = routes.dollar_prices(holdings.assets - current.keys(), listed.since(NEVER))
    return MasterPrices(current={**current, **holdings.named_values}, outdated=old, ignored=holdings.ignored)


def _instruments(redis: Redis, keys: BrokerKeys, holdings: AccountHoldings) -> dict[str, Instrument]:
    """The pair of each held asset against the cash of the broker, the preferred one first."""
    quotes = profile_of(keys.broker).cash_currencies
    pairs = {asset: [Symbol(asset, quote) for quote in quotes] for asset in sorted(holdings.assets - CASH)}
    listed = listed_instruments(redis, keys, [pair for each in pairs.values() for pair in each])
    best = {asset: next((pair for pair in each if pair in listed), None) for asset, each in pairs.items()}
    return {asset: listed[pair] for asset, pair in best.items() if pair is not None}


def _master(redis: Redis, keys: BrokerKeys) -> dict[str, str]:
    """The hash `master`. Raises RedisError."""
    fields: Any = redis.hgetall(keys.master)
    return dict(fields)


def _is_funded(master: Mapping[str, str]) -> bool:
    return is_funded(parse_amount(master["equity"]) if "equity" in master else None)
