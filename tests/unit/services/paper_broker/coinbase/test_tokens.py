"""Tests that the paper broker accepts the bearer tokens of unmodified ccxt, and rejects every changed token."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from time import time
from typing import Any

import ccxt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.paper_broker.coinbase.tokens import Tokens, key_name, new_key
from shared.exchange.accounts import Account, ApiKey

HOST, PATH = "127.0.0.1:8123", "/api/v3/brokerage/accounts"
CALL = ("GET", HOST, PATH)


@pytest.fixture(scope="module")
def key() -> ApiKey:
    name, pem = new_key()
    return ApiKey(name, pem, pem.encode(), Account("somebody"), frozenset())


@pytest.fixture
def token(key: ApiKey) -> Callable[..., str]:
    """Make a token as unmodified ccxt does."""
    client: Any = ccxt.coinbase({"apiKey": key.api_key, "secret": key.api_secret})

    def make(seconds: int | None = None, method: str = "GET", url: str = f"http://{HOST}{PATH}") -> str:
        return f"Bearer {client.create_auth_token(seconds or int(time()), method, url)}"

    return make


def now() -> int:
    return int(time() * 1_000_000)


def changed(token: str, segment: int, **changes: Any) -> str:
    """The token with other content in its header (segment 0) or claims (segment 1), and the old signature."""
    parts = token.removeprefix("Bearer ").split(".")
    content = orjson.loads(urlsafe_b64decode(parts[segment] + "==")) | changes
    parts[segment] = urlsafe_b64encode(orjson.dumps(content)).rstrip(b"=").decode()
    return "Bearer " + ".".join(parts)


def test_a_new_key_has_coinbases_form() -> None:
    """The name contains two ids, and the private key is P-256 in PEM form."""
    name, pem = new_key()
    organization, _, own = name.removeprefix("organizations/").partition("/apiKeys/")
    assert len(organization) == len(own) == 36
    assert pem.startswith("-----BEGIN EC PRIVATE KEY-----\n")
    private_key = load_pem_private_key(pem.encode(), None)
    assert isinstance(private_key, ec.EllipticCurvePrivateKey)
    assert private_key.curve.name == "secp256r1"
    assert new_key() != (name, pem)


@pytest.mark.parametrize(
    "url", [f"http://{HOST}{PATH}", f"https://{HOST}{PATH}?limit=250", f"https://api.coinbase.com{PATH}"]
)
def test_a_token_of_ccxt_passes(key: ApiKey, token: Callable[..., str], url: str) -> None:
    """The URL may contain the scheme, which ccxt leaves in, a query, or the real host (behind a proxy)."""
    made = token(url=url)
    assert Tokens().key_of(made, CALL, {key.api_key: key}, now()) is key
    assert key_name(made) == key.api_key


@pytest.mark.parametrize("call", [("POST", HOST, PATH), ("GET", HOST, PATH + "/x"), ("GET", "elsewhere", PATH)])
def test_a_token_is_for_one_method_host_and_path(
    key: ApiKey, token: Callable[..., str], call: tuple[str, str, str]
) -> None:
    """A stolen token is useless for any other request."""
    assert Tokens().key_of(token(), call, {key.api_key: key}, now()) is None


@pytest.mark.parametrize(("seconds_ago", "passes"), [(0, True), (119, True), (121, False), (-60, False)])
def test_a_token_is_good_for_two_minutes(
    key: ApiKey, token: Callable[..., str], seconds_ago: int, passes: bool
) -> None:
    """It is not valid longer, and not before its time."""
    moment = int(time())
    found = Tokens().key_of(token(moment - seconds_ago), CALL, {key.api_key: key}, moment * 1_000_000)
    assert (found is key) is passes


@pytest.mark.parametrize(
    ("segment", "changes"),
    [
        (1, {"exp": 9_999_999_999}),
        (1, {"sub": "another"}),
        (0, {"kid": "another"}),
        (0, {"alg": "none"}),
        (0, {"x": 1}),
    ],
)
def test_any_change_makes_a_token_wrong(
    key: ApiKey, token: Callable[..., str], segment: int, changes: dict[str, Any]
) -> None:
    """The signature covers header and claims."""
    assert Tokens().key_of(changed(token(), segment, **changes), CALL, {key.api_key: key}, now()) is None


@pytest.mark.parametrize("text", ["", "Bearer ", "Bearer a.b.c", "Basic x", "Bearer ..", "Bearer e30.e30.e30"])
def test_what_is_no_token_is_refused(key: ApiKey, text: str) -> None:
    """The reply is a refusal, not an internal error."""
    assert Tokens().key_of(text, CALL, {key.api_key: key}, now()) is None
    assert key_name(text) is None


def test_another_keys_signature_is_wrong(key: ApiKey) -> None:
    """The token names one key and is signed with the private half of another."""
    client: Any = ccxt.coinbase({"apiKey": key.api_key, "secret": new_key()[1]})
    made = f"Bearer {client.create_auth_token(int(time()), 'GET', f'http://{HOST}{PATH}')}"
    assert Tokens().key_of(made, CALL, {key.api_key: key}, now()) is None
