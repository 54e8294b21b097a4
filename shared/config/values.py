"""Defines the kinds of values that settings have, and checks their texts.

A wrong text raises a ValueError that says what would be right.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from shared.config.errors import ConfigurationError
from shared.domain.accounts.key_text import bare
from shared.domain.accounts.secret_key import HOW_TO_MAKE_A_KEY
from shared.domain.amounts import parse_amount
from shared.domain.errors import InvalidAmount
from shared.domain.identity import Broker, parse_follower_id
from shared.domain.strategy.parameters import APEX, ApexParameters

PERCENT_ENCODE = (
    "has a character in its name or password that means something else in a URL: percent-encode it "
    "(/ as %2F, ? as %3F, # as %23, @ as %40, : as %3A, % as %25)"
)
_END_OF_AUTHORITY = re.compile(r"[/?#]")
_BROKER_NAMES = ", ".join(broker.value for broker in Broker)
_FERNET_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=")
_TICKER = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,5})?")
_OPAQUE_TOKEN = re.compile(r"[A-Za-z0-9_.-]{32,200}")
_LARGEST_PRICE = Decimal(10**12)
# Nonces are 64-bit integers. What is left above this number lasts for centuries of nanoseconds.
_LARGEST_NONCE = 9 * 10**18


def parse_broker(name: str, setting: str) -> Broker:
    """Return the broker called `name`; raise ConfigurationError that names `setting` and the known brokers."""
    try:
        return Broker(name.lower())
    except ValueError:
        raise ConfigurationError(f"{setting}: unknown broker {name!r}; known are {_BROKER_NAMES}") from None


def secret_keys(value: SecretStr) -> SecretStr:
    """One or more Fernet keys, separated by commas, without what stands around each.

    Raises ValueError, which does not repeat them.
    """
    keys = [bare(key) for key in bare(value.get_secret_value()).split(",")]
    if not all(_FERNET_KEY.fullmatch(key) for key in keys):
        raise ValueError(f"should be one or more Fernet keys, separated by commas; {HOW_TO_MAKE_A_KEY}")
    return SecretStr(",".join(keys))


def _basic_auth(value: SecretStr) -> SecretStr:
    name, _, password = value.get_secret_value().partition(":")
    if not name or not password:
        raise ValueError("should be a name and a password, such as operator:a-long-password")
    return value


def _api_token(value: SecretStr) -> SecretStr:
    if not _OPAQUE_TOKEN.fullmatch(value.get_secret_value()):
        raise ValueError(
            "should be 32 to 200 letters, digits, '-', '_' or '.', chosen at random: "
            "python3 -c 'import secrets; print(secrets.token_hex(32))' prints one"
        )
    return value


def _url(schemes: tuple[str, ...], example: str) -> Callable[[str], str]:
    """The check of a URL with one of these schemes. Its errors repeat nothing of the URL: it may hold a password."""

    def check(value: str) -> str:
        if _hides_credentials(value):
            raise ValueError(PERCENT_ENCODE)
        try:
            parts = urlsplit(value)
            right = parts.scheme in schemes and bool(parts.netloc or parts.path) and parts.port != 0
        except ValueError:
            right = False
        if not right:
            hint = "; special characters of a password are percent-encoded" if "@" in value else ""
            raise ValueError(f"should be a URL such as {example}{hint}")
        return value

    return check


def _hides_credentials(url: str) -> bool:
    """Whether a name or a password in `url` holds a character that ends it too early.

    Libraries read such a URL in different ways, and show the rest of the password as a host or a port.
    """
    rest = url.partition("://")[2]
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0]
    return authority.count("@") > 1 or (authority != "" and "@" in rest[len(authority) :])


def _account_name(value: str) -> str:
    broker, _, account = value.partition(":")
    if broker not in set(Broker) or not account:
        raise ValueError(
            f"{value!r} should be broker:account, such as kraken:alice or alpaca:master; brokers are {_BROKER_NAMES}"
        )
    return f"{broker}:{parse_follower_id(account)}"


def _ticker(value: str) -> str:
    if not _TICKER.fullmatch(value):
        raise ValueError("should be tickers in capitals, separated by commas, such as AAPL,MSFT")
    return value


def strategy_parameters(texts: tuple[str, ...]) -> ApexParameters:
    """The strategy's parameters with these `name=value` changes. Raises ValueError."""
    parameters = APEX
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign:
            raise ValueError(f"has {text!r}: should be name=value, separated by commas, such as emergency=0.02")
        parameters = parameters.with_setting(name, value)
    return parameters


def _strategy(texts: tuple[str, ...]) -> tuple[str, ...]:
    strategy_parameters(texts)
    return texts


def _names(value: Any) -> Any:
    """The names in a text, separated by commas; what is no text (a flag) as it is."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _brokers(value: Any) -> Any:
    return tuple(parse_broker(name, "NIJA_BROKERS") for name in _names(value))


def asset_values(text: str) -> dict[str, Decimal | None]:
    """Parse `ABC:1.25,XYZ:ignore`: US dollars per unit by asset, None for an asset to ignore. Raises ValueError."""
    values: dict[str, Decimal | None] = {}
    for entry in _names(text):
        asset, _, value = (part.strip() for part in entry.rpartition(":"))
        try:
            amount = None if value.lower() == "ignore" else parse_amount(value)
        except InvalidAmount:
            amount = Decimal(-1)
        if not asset or (amount is not None and not 0 <= amount <= _LARGEST_PRICE):
            raise ValueError(
                f"has {entry!r}, which should be ASSET:<US dollars per unit> or ASSET:ignore, such as ABC:1.25,XYZ:ignore"
            )
        if asset.upper() in values:
            raise ValueError(f"names {asset.upper()} twice: should name each asset once")
        values[asset.upper()] = amount
    return values


def nonce(text: str) -> int:
    """Read a nonce; an empty text is 0. Raises ValueError."""
    if not (text == "" or (text.isascii() and text.isdecimal() and int(text) < _LARGEST_NONCE)):
        raise ValueError("should be a whole number of at most 19 digits, below 9000000000000000000")
    return int(text or "0")


redis_url = _url(("redis", "rediss", "unix"), "redis://:<password>@host:6379/0")
base_url = _url(("http", "https"), "http://127.0.0.1:8123")
proxy_url = _url(("http", "https"), "http://127.0.0.1:3128")
database_url = _url(("postgresql", "postgres", "postgresql+psycopg"), "postgresql://user:<password>@host:5432/nija")

RedisUrl = Annotated[str, AfterValidator(redis_url)]
DatabaseUrl = Annotated[str, AfterValidator(database_url)]
SecretKeys = Annotated[SecretStr, AfterValidator(secret_keys)]
ApiToken = Annotated[SecretStr, AfterValidator(_api_token)]
BasicAuth = Annotated[SecretStr, AfterValidator(_basic_auth)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Percent = Annotated[Decimal, Field(gt=0, le=100, allow_inf_nan=False)]
PollSeconds = Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)]
SecondsOrNever = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=1, le=65_535)]
# NoDecode: lists are names separated by commas, not the JSON that pydantic-settings would expect.
Brokers = Annotated[tuple[Broker, ...], NoDecode, BeforeValidator(_brokers)]
AccountNames = Annotated[tuple[Annotated[str, AfterValidator(_account_name)], ...], NoDecode, BeforeValidator(_names)]
Stocks = Annotated[tuple[Annotated[str, AfterValidator(_ticker)], ...], NoDecode, BeforeValidator(_names)]
StrategyChanges = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names), AfterValidator(_strategy)]
