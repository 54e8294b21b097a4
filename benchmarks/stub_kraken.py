"""Serves a stub of Kraken that fills every order completely at once and checks nothing.

A benchmark with this stub measures nija and not a broker. Start it with `python -m benchmarks.stub_kraken PORT`. It
remembers side and volume of each order, so the state that it reports agrees with the order that was sent.
"""

import asyncio
import itertools
import json
import sys
from urllib.parse import parse_qs

import uvloop

PRICE = "40000.0"
PAIR = "XXBTZUSD"
ASSETS = {
    "XXBT": {"aclass": "currency", "altname": "XBT", "decimals": 10, "display_decimals": 5, "status": "enabled"},
    "ZUSD": {"aclass": "currency", "altname": "USD", "decimals": 4, "display_decimals": 2, "status": "enabled"},
}
ASSET_PAIRS = {
    PAIR: {
        "altname": "XBTUSD",
        "wsname": "XBT/USD",
        "aclass_base": "currency",
        "base": "XXBT",
        "aclass_quote": "currency",
        "quote": "ZUSD",
        "cost_decimals": 5,
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.26]],
        "fees_maker": [[0, 0.16]],
        "fee_volume_currency": "ZUSD",
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": "0.1",
        "status": "online",
    }
}
TICKER = {PAIR: {key: [PRICE, "1", "1.000"] for key in ("a", "b", "c", "v", "p", "l", "h")} | {"o": PRICE, "t": [1, 1]}}
BALANCE = {"ZUSD": {"balance": "1000.0000", "hold_trade": "0.0000"}}

_PUBLIC = {
    b"/0/public/Assets": json.dumps({"error": [], "result": ASSETS}).encode(),
    b"/0/public/AssetPairs": json.dumps({"error": [], "result": ASSET_PAIRS}).encode(),
    b"/0/public/Ticker": json.dumps({"error": [], "result": TICKER}).encode(),
    b"/0/private/BalanceEx": json.dumps({"error": [], "result": BALANCE}).encode(),
}
_NOT_FOUND = b'{"error":["EGeneral:Unknown method"]}'


class Orders:
    """All orders that the stub has accepted: id → (side, volume)."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._orders: dict[str, tuple[str, str]] = {}

    def add(self, form: dict[str, list[str]]) -> bytes:
        order_id = f"OSTUB-{next(self._numbers):06d}"
        side, volume = form["type"][0], form["volume"][0]
        self._orders[order_id] = side, volume
        text = f"{side} {volume} XBTUSD @ market"
        return b'{"error":[],"result":{"descr":{"order":"%b"},"txid":["%b"]}}' % (text.encode(), order_id.encode())

    def query(self, form: dict[str, list[str]]) -> bytes:
        order_id = form["txid"][0]
        side, volume = self._orders[order_id]
        order = {
            "refid": None,
            "userref": 0,
            "status": "closed",
            "opentm": 1.0,
            "closetm": 1.0,
            "starttm": 0,
            "expiretm": 0,
            "descr": {
                "pair": "XBTUSD",
                "type": side,
                "ordertype": "market",
                "price": "0",
                "price2": "0",
                "leverage": "none",
                "order": f"{side} {volume} XBTUSD @ market",
                "close": "",
            },
            "vol": volume,
            "vol_exec": volume,
            "cost": "1.00000",
            "fee": "0.00260",
            "price": PRICE,
            "stopprice": "0",
            "limitprice": "0",
            "misc": "",
            "oflags": "fciq",
            "reason": None,
        }
        return json.dumps({"error": [], "result": {order_id: order}}).encode()


class Connection(asyncio.Protocol):
    """The small part of HTTP/1.1 with keep-alive that the clients of this benchmark need."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1].split(b"?", 1)[0], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/0/private/AddOrder":
            reply = self._orders.add(parse_qs(body.decode()))
        elif path == b"/0/private/QueryOrders":
            reply = self._orders.query(parse_qs(body.decode()))
        else:
            reply = _PUBLIC.get(path, _NOT_FOUND)
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply
            )


async def serve(port: int) -> None:
    orders = Orders()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(orders), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
