"""Tests the paper broker's own API: accounts, money, the order log, and what it refuses."""

import json
import urllib.error
from typing import Any

import pytest


async def _buy(client: Any, **params: str) -> Any:
    await client.load_markets()
    return await client.create_order("BTC/USD", "market", "buy", "0.01", None, params)


def test_the_admin_api_says_what_is_wrong(paper: Any) -> None:
    """400 with a reason, 404 for what is not there, 409 for an account that exists; nothing is half done."""
    name, _ = paper.account({"USD": "1"})
    for status, method, path, document in [
        (409, "POST", "/paper/accounts", {"name": name, "balances": {}}),
        (409, "POST", "/paper/accounts/bulk", [{"name": "fresh", "balances": {}}, {"name": name, "balances": {}}]),
        (400, "POST", "/paper/accounts", {"name": "x", "balances": {"USD": 1.5}}),
        (400, "POST", "/paper/accounts", {"name": "x", "permissions": ["fly"]}),
        (400, "POST", "/paper/accounts", {"balances": {}}),
        (400, "POST", "/paper/price", {"symbol": "BTC/USD", "price": "0.05"}),
        (400, "POST", "/paper/faults", {"kind": "gremlin"}),
        (400, "POST", f"/paper/accounts/{name}/balances", {"set": {"USD": "-1"}}),
        (400, "GET", "/paper/orders?limit=0", None),
        (404, "GET", "/paper/accounts/nobody", None),
        (404, "POST", "/paper/faults", {"kind": "reset", "account": "nobody"}),
        (404, "DELETE", "/paper/faults/none", None),
        (404, "GET", "/paper/nothing", None),
    ]:
        with pytest.raises(urllib.error.HTTPError) as refusal:
            paper.call(method, path, document)
        with refusal.value as reply:
            assert (reply.code, path) == (status, path)
            assert json.load(reply)["error"]
    assert "fresh" not in paper.call("GET", "/paper/accounts")["accounts"]
    assert not [fault for fault in paper.call("GET", "/paper/faults")["faults"] if fault["account"] == "nobody"]


def test_thousands_of_accounts_are_made_in_one_call(paper: Any) -> None:
    """Every one has its keys and its money."""
    names = [f"many-{number}" for number in range(3_000)]
    made = paper.call("POST", "/paper/accounts/bulk", [{"name": name, "balances": {"USD": "5"}} for name in names])
    assert [account["account"] for account in made["accounts"]] == names
    assert len({account["keys"][0]["api_key"] for account in made["accounts"]}) == 3_000
    shown = paper.call("GET", "/paper/accounts/many-2999")
    assert shown["balances"] == {"USD": {"total": "5", "hold": "0"}}


def test_balances_can_be_set_and_deposited(paper: Any) -> None:
    """`set` replaces, `deposit` adds."""
    name, _ = paper.account({"USD": "1", "BTC": "1"})
    paper.call("POST", f"/paper/accounts/{name}/balances", {"set": {"USD": "10"}, "deposit": {"BTC": "0.5"}})
    balances = paper.call("GET", f"/paper/accounts/{name}")["balances"]
    assert (balances["USD"]["total"], balances["BTC"]["total"]) == ("10", "1.5")


async def test_the_logs_are_read_in_pages(paper: Any, trader: tuple[str, Any]) -> None:
    """A reader goes on after the last sequence number it saw, for orders and fills."""
    name, client = trader
    start = {kind: len(paper.call("GET", f"/paper/{kind}?limit=10000")[kind]) for kind in ("orders", "fills")}
    for _ in range(3):
        await _buy(client)
    for kind in ("orders", "fills"):
        seen: list[dict[str, Any]] = []
        since = start[kind]
        while page := paper.call("GET", f"/paper/{kind}?since_sequence={since}&limit=2"):
            if not page[kind]:
                break
            seen += page[kind]
            since = page["next_since_sequence"]
        assert [entry["account"] for entry in seen] == [name] * 3
        assert [entry["sequence"] for entry in seen] == list(range(start[kind] + 1, start[kind] + 4))
