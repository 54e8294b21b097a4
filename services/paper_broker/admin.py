"""Serves the paper broker's own API under `/paper/`: accounts, money, order log, faults, prices.

Requests and replies are JSON, with amounts as text. The order log and the fills are the ground truth of what happened.
Pages of the logs are cut by sequence number, so a reader goes on where it stopped.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import orjson

from services.paper_broker.dialect import Dialect, HasPassphrases, Reply, Request
from services.paper_broker.faults import Fault, Faults, InvalidFault
from services.paper_broker.order_log import shown_account, shown_fill, shown_order
from shared.domain.amounts import parse_amount, plain
from shared.domain.errors import InvalidAmount, NijaError
from shared.domain.symbol import Symbol
from shared.exchange.accounts import Account
from shared.exchange.exchange import Exchange
from shared.exchange.refusals import Refused

PREFIX = "/paper/"
_MOST_KEYS = 100
_PAGE = 1_000
_MOST_PAGE = 10_000
_MOST_QUIET_MINUTES = 1_440


class BadRequest(NijaError):
    """The request cannot be understood; the text says what would be right."""


class NotThere(NijaError):
    """What the path names does not exist."""


class Conflict(NijaError):
    """What should be created exists already."""


class Admin:
    """Serves `/paper/…`."""

    def __init__(self, broker: str, exchange: Exchange, dialect: Dialect, faults: Faults) -> None:
        self._broker = broker
        self._exchange = exchange
        self._dialect = dialect
        self._faults = faults

    def answer(self, request: Request) -> Reply:
        """Serve one request: 400 for what is not understood, 404 for what is not there, 409 for what exists."""
        try:
            return self._route(request, request.path[len(PREFIX) :].strip("/").split("/"))
        except (BadRequest, InvalidAmount, InvalidFault, Refused) as error:
            return _json({"error": str(error)}, 400)
        except NotThere as error:
            return _json({"error": str(error)}, 404)
        except Conflict as error:
            return _json({"error": str(error)}, 409)

    def _route(self, request: Request, parts: list[str]) -> Reply:
        collection, rest = parts[0], parts[1:]
        match collection:
            case "accounts":
                return self._route_accounts(request, rest)
            case "faults":
                return self._route_faults(request, rest)
        match request.method, parts:
            case "GET", ["health"]:
                return self._health()
            case "GET", ["orders"]:
                return self._orders(request)
            case "GET", ["fills"]:
                return self._fills(request)
            case "POST", ["price"]:
                return self._price(_document(request))
            case "POST", ["quiet"]:
                return self._quiet(_document(request))
        raise _no_route(request)

    def _route_accounts(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", []:
                return _json({"accounts": list(self._exchange.state.accounts)})
            case "POST", []:
                return _json(self._create_accounts([_document(request)])[0], 201)
            case "POST", ["bulk"]:
                document = _loaded(request)
                items = document.get("accounts") if isinstance(document, dict) else document
                if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                    raise BadRequest('the body must be a list of accounts, or {"accounts": [...]}')
                return _json({"accounts": self._create_accounts(items)}, 201)
            case "GET", [name]:
                return _json(shown_account(self._account(name)))
            case "POST", [name, "balances"]:
                return self._change_balances(self._account(name), _document(request))
        raise _no_route(request)

    def _route_faults(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", []:
                return _json({"faults": [fault.shown() for fault in self._faults.listed()]})
            case "POST", []:
                return _json({"id": self._switch_on(_document(request)).fault_id}, 201)
            case "DELETE", []:
                return _json({"deleted": self._faults.clear()})
            case "DELETE", [fault_id]:
                if not self._faults.clear(fault_id):
                    raise NotThere(f"no fault {fault_id}")
                return _json({"deleted": 1})
        raise _no_route(request)

    def _switch_on(self, description: dict[str, Any]) -> Fault:
        """Raises InvalidFault, and NotThere when the fault is for an account that does not exist: it would never hit."""
        account = description.get("account")
        if isinstance(account, str):
            self._account(account)
        return self._faults.switch_on(description)

    def _health(self) -> Reply:
        state = self._exchange.state
        return _json(
            {
                "status": "ok",
                "broker": self._broker,
                "accounts": len(state.accounts),
                "orders": len(state.orders),
                "fills": len(state.fills),
                "open_orders": sum(len(account.open_orders) for account in state.accounts.values()),
                "faults": len(self._faults.active),
            }
        )

    def _account(self, name: str) -> Account:
        account = self._exchange.state.accounts.get(name)
        if account is None:
            raise NotThere(f"there is no account {name!r}; GET /paper/accounts lists the accounts")
        return account

    def _create_accounts(self, descriptions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Create all of them, or none when one is wrong or exists."""
        read = [self._read_account(description) for description in descriptions]
        names = [name for name, *_ in read]
        for name in names:
            if name in self._exchange.state.accounts or (names.count(name) > 1 and len(set(names)) < len(names)):
                raise Conflict(f"account {name} exists")
        created: list[dict[str, Any]] = []
        for name, balances, key_count, permissions in read:
            keys = [self._dialect.new_key() for _ in range(key_count)]
            self._exchange.state.add_account(name, balances, keys, permissions)
            created.append({"account": name, "keys": [self._shown_key(*key) for key in keys]})
        return created

    def _shown_key(self, api_key: str, api_secret: str) -> dict[str, str]:
        shown = {"api_key": api_key, "api_secret": api_secret}
        if isinstance(self._dialect, HasPassphrases):
            shown["passphrase"] = self._dialect.passphrase(api_secret)
        return shown

    def _read_account(self, description: Mapping[str, Any]) -> tuple[str, dict[str, Decimal], int, frozenset[str]]:
        name = description.get("name")
        if not isinstance(name, str) or not name or "/" in name:
            raise BadRequest("name must be text without slashes")
        key_count = description.get("keys", 1)
        if isinstance(key_count, bool) or not isinstance(key_count, int) or not 0 <= key_count <= _MOST_KEYS:
            raise BadRequest(f"keys must be a whole number from 0 to {_MOST_KEYS}")
        wanted = description.get("permissions")
        if wanted is None:
            permissions = self._dialect.default_permissions
        elif isinstance(wanted, list) and all(isinstance(text, str) for text in wanted):
            permissions = frozenset(wanted)
        else:
            raise BadRequest("permissions must be a list of names")
        if not permissions <= self._dialect.permission_names:
            raise BadRequest(f"permissions can be: {', '.join(sorted(self._dialect.permission_names))}")
        return name, _amounts(description.get("balances", {})), key_count, permissions

    def _change_balances(self, account: Account, document: Mapping[str, Any]) -> Reply:
        """`{"set": {"USD": "100"}}`, `{"deposit": {"USD": "-5"}}`, or currencies alone, which are set."""
        if not set(document) & {"set", "deposit", "balances"}:
            document = {"set": document}
        new = dict(_amounts(document.get("set", document.get("balances", {}))))
        for currency, amount in _amounts(document.get("deposit", {})).items():
            new[currency] = new.get(currency, account.holding(currency).total) + amount
        for currency, total in new.items():
            if total < account.holding(currency).hold:
                raise BadRequest(f"{currency} cannot be {plain(total)}: open orders hold more, or it is below zero")
        for currency, total in new.items():
            self._exchange.state.set_balance(account, currency, total)
        return _json(shown_account(account))

    def _orders(self, request: Request) -> Reply:
        since, limit = _page(request)
        orders = self._exchange.state.orders[since : since + limit]
        return _json({"orders": [shown_order(order) for order in orders], "next_since_sequence": since + len(orders)})

    def _fills(self, request: Request) -> Reply:
        since, limit = _page(request)
        fills = self._exchange.state.fills[since : since + limit]
        return _json({"fills": [shown_fill(fill) for fill in fills], "next_since_sequence": since + len(fills)})

    def _price(self, document: Mapping[str, Any]) -> Reply:
        named, price = document.get("symbol"), document.get("price")
        if not isinstance(named, str):
            raise BadRequest("symbol must be a pair such as BTC/USD")
        symbol = Symbol.parse(named)
        self._exchange.pin_price(symbol, None if price is None else parse_amount(price))
        return _json({"symbol": symbol, "price": plain(self._exchange.price(symbol)), "pinned": price is not None})

    def _quiet(self, document: Mapping[str, Any]) -> Reply:
        """`{"symbol": "BTC/USD", "first_minute": 28000000, "last_minute": 28000004}`; forgotten at a restart."""
        named, first, last = (document.get(name) for name in ("symbol", "first_minute", "last_minute"))
        if not isinstance(named, str) or named not in self._exchange.instruments:
            raise BadRequest("symbol must be a pair such as BTC/USD")
        symbol = Symbol.parse(named)
        if not isinstance(first, int) or not isinstance(last, int) or not 0 <= last - first < _MOST_QUIET_MINUTES:
            raise BadRequest(f"first_minute and last_minute must be minutes since 1970, {_MOST_QUIET_MINUTES} at most")
        self._exchange.market.silence(symbol, first, last)
        return _json({"symbol": symbol, "first_minute": first, "last_minute": last})


def _no_route(request: Request) -> NotThere:
    return NotThere(f"{request.method} {request.path} is not part of the paper broker's API")


def _amounts(document: Any) -> dict[str, Decimal]:
    if not isinstance(document, dict):
        raise BadRequest('balances must be an object such as {"USD": "10000", "BTC": "0.5"}')
    amounts: dict[str, Decimal] = {}
    for currency, text in document.items():
        amounts[currency] = parse_amount(text)
    return amounts


def _page(request: Request) -> tuple[int, int]:
    parameters = dict(parse_qsl(request.query))
    try:
        since, limit = int(parameters.get("since_sequence", "0")), int(parameters.get("limit", str(_PAGE)))
    except ValueError:
        raise BadRequest("since_sequence and limit must be whole numbers") from None
    if since < 0 or not 1 <= limit <= _MOST_PAGE:
        raise BadRequest(f"since_sequence must be 0 or more, limit from 1 to {_MOST_PAGE}")
    return since, limit


def _loaded(request: Request) -> Any:
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def _document(request: Request) -> dict[str, Any]:
    document = _loaded(request)
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    return document


def _json(document: Any, status: int = 200) -> Reply:
    return Reply(orjson.dumps(document), status)
