"""Walks every broker's whole list of refusals, from the broker's reply to our class of error."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ccxt
import pytest
import requests
from alpaca.common.exceptions import APIError

from shared.brokers.alpaca import refusals as alpaca
from shared.brokers.alpaca.errors import classify as classify_alpaca
from shared.brokers.binance import refusals as binance
from shared.brokers.binance.client import BinanceClient
from shared.brokers.ccxt.errors import classify
from shared.brokers.coinbase import refusals as coinbase
from shared.brokers.coinbase.client import CoinbaseClient
from shared.brokers.errors import (
    BrokerError,
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.kraken import refusals as kraken
from shared.brokers.kraken.client import KrakenClient
from shared.brokers.okx import refusals as okx
from shared.brokers.okx.client import OkxClient
from shared.brokers.refusals import Reaction, Refusals, reactions

CLASS_OF = {
    Reaction.REJECT: Rejected,
    Reaction.NOT_ENOUGH_MONEY: InsufficientFunds,
    Reaction.NOT_FOUND: Rejected,
    Reaction.NOT_LISTED: Rejected,
    Reaction.EXPIRED: Expired,
    Reaction.CLOCK: InvalidNonce,
    Reaction.SLOW_DOWN: RateLimited,
    Reaction.KEY: KeyRefused,
    Reaction.BUSY: OutcomeUnknown,
    Reaction.LOOK_UP: OutcomeUnknown,
}
URL = "https://broker/api/v5/trade/batch-orders"


def answered(client: Any, reply: dict[str, Any], status: int = 200) -> BrokerError:
    """What the adapter makes of this reply to an order."""
    with pytest.raises(ccxt.BaseError) as raised:
        client.handle_errors(status, "", URL, "POST", {}, json.dumps(reply), reply, {}, None)
    return classify(raised.value)


def kraken_error(text: str) -> BrokerError:
    return answered(KrakenClient({}), {"error": [text]})


def okx_order(code: str) -> BrokerError:
    entry = {"clOrdId": "", "ordId": "", "sCode": code, "sMsg": "words of OKX", "tag": ""}
    return answered(OkxClient({}), {"code": "1", "msg": "All operations failed", "data": [entry]})


def binance_code(code: str) -> BrokerError:
    return answered(BinanceClient({}), {"code": int(code), "msg": "words of Binance"}, 400)


def binance_message(message: str) -> BrokerError:
    return answered(BinanceClient({}), {"code": -2010, "msg": message}, 400)


def coinbase_reason(reason: str) -> BrokerError:
    details = {"error": "UNKNOWN_FAILURE_REASON", "preview_failure_reason": f"PREVIEW_{reason}"}
    return answered(CoinbaseClient({}), {"success": False, "order_id": "", "error_response": details})


def coinbase_error(code: str) -> BrokerError:
    return answered(CoinbaseClient({}), {"error": code, "message": "words of Coinbase"}, 400)


def alpaca_forbidden(message: str) -> BrokerError:
    reply = requests.Response()
    reply.status_code = 403
    body = json.dumps({"code": 40310000, "message": message})
    return classify_alpaca(APIError(body, requests.HTTPError(response=reply)), lambda text: text)


LISTS: dict[str, tuple[Sequence[Refusals], Callable[[str], BrokerError]]] = {
    "kraken": (kraken.REFUSALS, kraken_error),
    "okx": (okx.REFUSALS, okx_order),
    "binance": (binance.REFUSALS, binance_code),
    "binance-messages": (binance.MESSAGES, binance_message),
    "coinbase-reasons": (coinbase.REASONS, coinbase_reason),
    "coinbase-errors": (coinbase.ERRORS, coinbase_error),
    "alpaca": (alpaca.REFUSALS, alpaca_forbidden),
}


def listed() -> Iterator[Any]:
    for name, (groups, _) in LISTS.items():
        for group in groups:
            for known in group.known:
                yield pytest.param(name, known, group.reaction, id=f"{name}-{known}")


@pytest.mark.parametrize(("name", "known", "reaction"), [*listed()])
def test_every_listed_refusal_has_the_class_of_its_reaction(name: str, known: str, reaction: Reaction) -> None:
    """The broker answers an order with it. The error has the class, and the words that the broker sent."""
    error = LISTS[name][1](known)
    assert type(error) is CLASS_OF[reaction]
    assert known.strip() in str(error)
    if isinstance(error, RateLimited):
        assert error.certainly_refused
    if isinstance(error, OutcomeUnknown):
        assert error.answered is (reaction is Reaction.LOOK_UP)


@pytest.mark.parametrize("name", LISTS)
def test_every_group_names_its_source_and_lists_nothing_twice(name: str) -> None:
    """A later reader can check each entry, and no entry contradicts another one."""
    groups, _ = LISTS[name]
    assert all(len(group.source) > 10 and group.known for group in groups)
    assert len(reactions(groups)) == sum(len(group.known) for group in groups)


@pytest.mark.parametrize("name", LISTS)
def test_what_is_not_listed_is_reported_in_the_brokers_words(name: str) -> None:
    """Where the reply shows no refusal, the outcome is unknown, and the broker counts as working.

    Three kinds of reply are refusals by themselves.
    """
    refuses_anyway = name in ("binance-messages", "coinbase-reasons", "alpaca")
    words = "-9999" if name == "binance" else "SOMETHING NEW"
    error = LISTS[name][1](words)
    assert type(error) is (Rejected if refuses_anyway else OutcomeUnknown)
    assert refuses_anyway or (isinstance(error, OutcomeUnknown) and error.answered)
    assert words in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This product isn’t available in your country or region due to local laws and regulations.", Rejected),
        ("Sub-accounts exceeding the limit aren't allowed to open new positions and can only reduce.", Rejected),
        ("Trading account is blocked.", KeyRefused),
        ("Your account is in judicial freezing, and this action is not allowed for now.", KeyRefused),
    ],
)
def test_okx_blocks_an_account_or_one_product_by_the_same_code(text: str, expected: type[BrokerError]) -> None:
    """51024 stands for both. Only the first must not touch the account."""
    entry = {"ordId": "", "sCode": "51024", "sMsg": text}
    assert type(answered(OkxClient({}), {"code": "1", "msg": "", "data": [entry]})) is expected


@pytest.mark.parametrize(
    ("code", "certain"), [("50011", True), ("50061", True), ("50040", True), ("50013", False), ("59999", False)]
)
def test_okx_refuses_for_certain_only_by_its_own_code_for_rate_limits(code: str, certain: bool) -> None:
    """A busy OKX answers with 429 too, and does not document that it did not execute the request."""
    error = answered(OkxClient({}), {"code": code, "msg": "words", "data": []}, 429)
    assert isinstance(error, RateLimited)
    assert error.certainly_refused is certain


@pytest.mark.parametrize(
    "client", [KrakenClient({}), CoinbaseClient({}), BinanceClient({})], ids=["kraken", "coinbase", "binance"]
)
def test_http_429_alone_is_a_certain_refusal_where_it_is_documented_so(client: Any) -> None:
    """The order is sent again after the wait, without a look-up."""
    error = answered(client, {}, 429)
    assert isinstance(error, RateLimited)
    assert error.certainly_refused


def test_binance_refuses_a_location_for_every_key() -> None:
    """The reply has the code 0, which is no error code. The address is refused, and not the order."""
    words = "Service unavailable from a restricted location"
    error = answered(BinanceClient({}), {"code": 0, "msg": words}, 451)
    assert isinstance(error, KeyRefused)
    assert words in str(error)


def trading_codes_of_ccxt() -> Iterator[Any]:
    for code in ccxt.okx().exceptions["exact"]:
        # Bots, amendments, statements and buying with a card are services that nija does not call.
        if code[:2] in ("50", "51", "54") and code[:3] not in ("513", "515", "516", "517") and len(code) == 5:
            yield pytest.param(okx.REFUSALS, code, id=f"okx-{code}")
    tables = ccxt.binance().exceptions
    for code in sorted({*tables["spot"]["exact"], *tables["exact"]}):
        if code[:2] in ("-1", "-2") and len(code) == 5:
            yield pytest.param(binance.REFUSALS, code, id=f"binance-{code}")


@pytest.mark.parametrize(("groups", "code"), [*trading_codes_of_ccxt()])
def test_every_trading_code_that_ccxt_knows_is_listed(groups: Sequence[Refusals], code: str) -> None:
    """A new version of ccxt may know new codes. Each has to be classed by a person."""
    unused = {"54051", "54074", "54094"}  # settings of derivatives
    assert code in unused or code in reactions(groups)
