"""A key is not used if its account is in a mode in which nija cannot trade."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.actions.context import BrokerAccess, RedisAddress
from shared.actions.key_check import AccountKey, ask_about_keys
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.key_check import KeyVerdict
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer, serving

KEY = Credentials(
    api_key=SecretStr("key-of-a-test"), api_secret=SecretStr("SECRET0123456789"), passphrase=SecretStr("Pass-phrase1!")
)
BITCOIN = {
    "instType": "SPOT",
    "instId": "BTC-USDT",
    "baseCcy": "BTC",
    "quoteCcy": "USDT",
    "lotSz": "0.00000001",
    "minSz": "0.00001",
    "tickSz": "0.1",
    "state": "live",
}


@pytest.fixture
async def okx() -> AsyncIterator[RecordingServer]:
    """A server that answers like OKX."""
    server = RecordingServer(
        name=lambda request: request.endpoint,
        unknown=lambda: web.Response(status=404),
        wrap=lambda data: {"code": "0", "msg": "", "data": data},
        answers={"instruments": [BITCOIN]},
    )
    async with serving(server):
        yield server


@pytest.mark.parametrize(
    ("mode", "verdict", "words"),
    [
        ("1", KeyVerdict.FINE, "the key may trade"),
        ("2", KeyVerdict.FINE, "the key may trade"),
        ("3", KeyVerdict.UNSUPPORTED, "multi-currency margin mode"),
        ("4", KeyVerdict.UNSUPPORTED, "portfolio margin mode"),
    ],
)
async def test_an_okx_account_is_used_only_in_the_modes_that_have_spot_orders(
    okx: RecordingServer, fresh_redis_url: str, mode: str, verdict: KeyVerdict, words: str
) -> None:
    """The operator reads the name of the mode, and the key is usable in the modes Spot and Futures only."""
    okx.answers["config"] = [{"perm": "read_only,trade", "acctLv": mode, "uid": "7"}]
    access = BrokerAccess(
        redis_of=lambda _: RedisAddress("REDIS_URL", fresh_redis_url),
        base_urls={Broker.OKX: okx.url},
        proxies={},
        request_timeout_seconds=5,
    )
    key = AccountKey(Broker.OKX, "alice", "follower", KEY, allowed=False)
    (found,) = await ask_about_keys(access, [key])
    assert (found.verdict, found.usable, found.identity) == (verdict, verdict is KeyVerdict.FINE, "7")
    assert words in found.message
