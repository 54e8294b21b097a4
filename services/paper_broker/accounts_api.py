"""Serves `/paper/accounts`: accounts with their money, and their keys with permissions, addresses and nonces."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.paper_broker.dialect import Dialect, HasPassphrases, Reply, Request
from services.paper_broker.documents import (
    BadRequest,
    Conflict,
    NotThere,
    amounts,
    answered,
    document,
    loaded,
    names,
    no_route,
)
from services.paper_broker.order_log import shown_account
from shared.domain.amounts import plain
from shared.exchange.accounts import Account, ApiKey
from shared.exchange.exchange import Exchange

_MOST_KEYS = 100


@dataclass(frozen=True, slots=True)
class _Keys:
    """How many keys an account gets, and what they may do."""

    count: int
    permissions: frozenset[str]
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class _NewAccount:
    name: str
    balances: dict[str, Decimal]
    keys: _Keys
    shows_identity: bool


class AccountsApi:
    """The part of the paper broker's own API that is about accounts."""

    def __init__(self, exchange: Exchange, dialect: Dialect) -> None:
        self._exchange = exchange
        self._dialect = dialect

    def route(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", []:
                return answered({"accounts": list(self._exchange.state.accounts)})
            case "POST", []:
                return answered(self._create([document(request)])[0], 201)
            case "POST", ["bulk"]:
                content = loaded(request)
                items = content.get("accounts") if isinstance(content, dict) else content
                if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                    raise BadRequest('the body must be a list of accounts, or {"accounts": [...]}')
                return answered({"accounts": self._create(items)}, 201)
            case "GET", [name]:
                return answered(self._shown(self.named(name)))
            case "POST", [name, "balances"]:
                return self._change_balances(self.named(name), document(request))
            case "POST", [name, "keys"]:
                return self._add_keys(self.named(name), document(request))
            case "POST", [name, "access"]:
                return self._change_access(self.named(name), document(request))
        raise no_route(request)

    def named(self, name: str) -> Account:
        """The account of this name. Raises NotThere."""
        account = self._exchange.state.accounts.get(name)
        if account is None:
            raise NotThere(f"there is no account {name!r}; GET /paper/accounts lists the accounts")
        return account

    def _shown(self, account: Account) -> dict[str, Any]:
        return shown_account(account, [self._exchange.state.keys[name] for name in account.api_keys])

    def _create(self, descriptions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Create all of them, or none when one is wrong or exists."""
        wanted = [self._read_account(description) for description in descriptions]
        all_names = [new.name for new in wanted]
        for name in all_names:
            if name in self._exchange.state.accounts or (
                all_names.count(name) > 1 and len(set(all_names)) < len(all_names)
            ):
                raise Conflict(f"account {name} exists")
        return [{"account": new.name, "keys": self._opened(new)} for new in wanted]

    def _opened(self, new: _NewAccount) -> list[dict[str, str]]:
        state = self._exchange.state
        pairs = [self._dialect.new_key() for _ in range(new.keys.count)]
        state.add_account(new.name, new.balances, pairs, new.keys.permissions, shows_identity=new.shows_identity)
        if new.keys.addresses:
            for api_key, _ in pairs:
                state.change_access(state.keys[api_key], new.keys.permissions, new.keys.addresses)
        return [self._shown_key(*pair) for pair in pairs]

    def _shown_key(self, api_key: str, api_secret: str) -> dict[str, str]:
        shown = {"api_key": api_key, "api_secret": api_secret}
        if isinstance(self._dialect, HasPassphrases):
            shown["passphrase"] = self._dialect.passphrase(api_secret)
        return shown

    def _read_account(self, fields: Mapping[str, Any]) -> _NewAccount:
        name = fields.get("name")
        if not isinstance(name, str) or not name or "/" in name:
            raise BadRequest("name must be text without slashes")
        shows_identity = fields.get("shows_identity", True)
        if not isinstance(shows_identity, bool):
            raise BadRequest("shows_identity must be true or false")
        return _NewAccount(name, amounts(fields.get("balances", {})), self._read_keys(fields), shows_identity)

    def _read_keys(self, fields: Mapping[str, Any]) -> _Keys:
        count = fields.get("keys", 1)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MOST_KEYS:
            raise BadRequest(f"keys must be a whole number from 0 to {_MOST_KEYS}")
        permissions = self._read_permissions(fields)
        if permissions is None:
            permissions = self._dialect.default_permissions
        return _Keys(count, permissions, names(fields, "addresses") or frozenset())

    def _read_permissions(self, fields: Mapping[str, Any]) -> frozenset[str] | None:
        permissions = names(fields, "permissions")
        if permissions is not None and not permissions <= self._dialect.permission_names:
            raise BadRequest(f"permissions can be: {', '.join(sorted(self._dialect.permission_names))}")
        return permissions

    def _add_keys(self, account: Account, fields: Mapping[str, Any]) -> Reply:
        """`{"keys": 1, "permissions": [...], "addresses": [...]}`, as at the creation of an account."""
        wanted = self._read_keys(fields)
        pairs = [self._dialect.new_key() for _ in range(wanted.count)]
        for pair in pairs:
            key = self._exchange.state.add_key(account, *pair, wanted.permissions)
            if wanted.addresses:
                self._exchange.state.change_access(key, wanted.permissions, wanted.addresses)
        return answered({"account": account.name, "keys": [self._shown_key(*pair) for pair in pairs]}, 201)

    def _change_access(self, account: Account, fields: Mapping[str, Any]) -> Reply:
        """Change what keys may do: all keys of the account, or only `api_key`.

        `addresses` are the only IP addresses that may use the key, and `[]` lets all use it. `last_nonce` is the nonce
        above which the next one must lie. A field that is missing stays as it is.
        """
        permissions, addresses = self._read_permissions(fields), names(fields, "addresses")
        last_nonce = fields.get("last_nonce")
        if last_nonce is not None and (isinstance(last_nonce, bool) or not isinstance(last_nonce, int)):
            raise BadRequest("last_nonce must be a whole number")
        state = self._exchange.state
        for key in self._chosen(account, fields.get("api_key")):
            if permissions is not None or addresses is not None:
                state.change_access(
                    key,
                    key.permissions if permissions is None else permissions,
                    key.addresses if addresses is None else addresses,
                )
            if last_nonce is not None:
                state.accept_nonce(key, last_nonce)
        return answered(self._shown(account))

    def _chosen(self, account: Account, api_key: Any) -> list[ApiKey]:
        if api_key is not None and api_key not in account.api_keys:
            raise NotThere(f"account {account.name!r} has no such api_key")
        return [self._exchange.state.keys[name] for name in account.api_keys if api_key in (None, name)]

    def _change_balances(self, account: Account, fields: Mapping[str, Any]) -> Reply:
        """`{"set": {"USD": "100"}}`, `{"deposit": {"USD": "-5"}}`, or currencies alone, which are set."""
        if not set(fields) & {"set", "deposit", "balances"}:
            fields = {"set": fields}
        new = dict(amounts(fields.get("set", fields.get("balances", {}))))
        for currency, amount in amounts(fields.get("deposit", {})).items():
            new[currency] = new.get(currency, account.holding(currency).total) + amount
        for currency, total in new.items():
            if total < account.holding(currency).hold:
                raise BadRequest(f"{currency} cannot be {plain(total)}: open orders hold more, or it is below zero")
        for currency, total in new.items():
            self._exchange.state.set_balance(account, currency, total)
        return answered(self._shown(account))
