"""Reads the variables of brokers: keys of masters and followers, base URLs, proxies, own Redis servers.

A wrong variable raises a ConfigurationError, which names the variable and never repeats a key.

These are read here and not by pydantic-settings: its fields have names that are known beforehand, and a follower's
variables carry a name that the user chose.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from shared.brokers.registry import profile_of
from shared.config.errors import ConfigurationError
from shared.config.values import asset_values, base_url, nonce, parse_broker, proxy_url, redis_url
from shared.domain.accounts.credentials import (
    Credentials,
    EnvironmentFollower,
    KeyFault,
    KeyPart,
    cleaned,
    key_hash,
    read_key,
)
from shared.domain.accounts.key_text import bare
from shared.domain.errors import InvalidFollowerId
from shared.domain.identity import Broker, FollowerId, parse_follower_id

SECRET_NAME = re.compile(r"(?i)(api_key|api_secret|passphrase|secret_key|api_token|basic_auth)$")
URL_PARTS: Mapping[str, Callable[[str], str]] = {"BASE_URL": base_url, "PROXY": proxy_url, "REDIS_URL": redis_url}
"""What {BROKER}_ may be followed by, and the check of its value (ValueError)."""
PLAIN_PARTS = (*URL_PARTS, "MASTER_VALUES", "NONCE_ABOVE")
"""What {BROKER}_ may be followed by in a file without secrets."""
_ACCOUNT_PARTS = (*(part.name for part in KeyPart), "PAPER")
_FOLLOWER_VARIABLE = re.compile(
    r"(?P<broker>[A-Z0-9]+)_USER_(?P<name>.+)_(?P<part>API_KEY|API_SECRET|PASSPHRASE|PAPER)"
)
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def master_prefix(broker: Broker) -> str:
    """What the variables of this broker's master begin with; `_API_KEY` and so on follow."""
    return profile_of(broker).variables_of_master


_NAMES = {f"{broker.name}_{part}" for broker in Broker for part in PLAIN_PARTS}
_NAMES |= {f"{master_prefix(broker)}_{part}" for broker in Broker for part in _ACCOUNT_PARTS}


def meant_by(name: str) -> str | None:
    """What a name that begins like a broker's variable, and is none, was meant to be; None: it is one, or no guess."""
    broker = next((broker for broker in Broker if name.startswith(f"{broker.name}_")), None)
    if broker is None or name in _NAMES or _FOLLOWER_VARIABLE.fullmatch(name):
        return None
    of_follower = f"{broker.name}_USER_"
    if name.startswith(of_follower):
        # Never the master's, however close: a follower's secret has no business there.
        follower, _, part = name.removeprefix(of_follower).partition("_")
        parts = difflib.get_close_matches(part, _ACCOUNT_PARTS, n=1, cutoff=0.4)
        return f"{of_follower}{follower}_{parts[0] if parts else _ACCOUNT_PARTS[0]}"
    close = difflib.get_close_matches(name, sorted(_NAMES), n=1, cutoff=0.8)
    if close:
        return close[0]
    part = next((part for part in _ACCOUNT_PARTS if name.endswith(f"_{part}")), "")
    return f"{of_follower}…_{part}" if part else None


@dataclass(frozen=True)
class BrokerVariables:
    """The variables that speak of brokers. An empty one is one that is not set."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def among(cls, variables: Mapping[str, str]) -> Self:
        """Those of `variables` that speak of brokers. Raises ConfigurationError for a follower of an unknown one."""
        found = {}
        for name, value in variables.items():
            match = _FOLLOWER_VARIABLE.fullmatch(name)
            if match:
                parse_broker(match["broker"].lower(), name)
            if match or name in _NAMES:
                found[name] = value
        return cls(found)

    def url(self, broker: Broker, part: str) -> str | None:
        """{BROKER}_{part}, where `part` is one of URL_PARTS; None: not set."""
        return bare(self.values.get(f"{broker.name}_{part}", "")) or None

    def master_values(self, broker: Broker) -> dict[str, Decimal | None]:
        """{BROKER}_MASTER_VALUES: US dollars per unit by asset; None: ignore the asset. Raises ConfigurationError."""
        name = f"{broker.name}_MASTER_VALUES"
        try:
            return asset_values(bare(self.values.get(name, "")))
        except ValueError as error:
            raise ConfigurationError(f"{name} {error}") from None

    def nonce_above(self, broker: Broker) -> int:
        """{BROKER}_NONCE_ABOVE: a nonce that another tool has used; 0: not set. Raises ConfigurationError."""
        name = f"{broker.name}_NONCE_ABOVE"
        try:
            return nonce(bare(self.values.get(name, "")))
        except ValueError as error:
            raise ConfigurationError(f"{name} {error}") from None

    def master_credentials(self, broker: Broker) -> Credentials | None:
        """The master's key at this broker; None when there is none. Raises ConfigurationError when it is wrong."""
        return self._credentials(broker, master_prefix(broker))

    def followers(self) -> list[EnvironmentFollower]:
        """The followers, ordered by broker and id. Raises ConfigurationError when one is wrong."""
        prefixes: dict[tuple[Broker, FollowerId], str] = {}
        for name in sorted(self.values):
            match = _FOLLOWER_VARIABLE.fullmatch(name)
            if not match or not bare(self.values[name]):
                continue
            broker = parse_broker(match["broker"].lower(), name)
            prefix = name.removesuffix(f"_{match['part']}")
            try:
                follower_id = parse_follower_id(match["name"].lower())
            except InvalidFollowerId as error:
                raise ConfigurationError(f"{name}: {error}") from None
            other = prefixes.setdefault((broker, follower_id), prefix)
            if other != prefix:
                raise ConfigurationError(
                    f"{other}_… and {prefix}_… both name the follower {follower_id!r}: rename one of them"
                )
        followers = []
        for (broker, follower_id), prefix in sorted(prefixes.items()):
            credentials = self._credentials(broker, prefix)
            if credentials is None:
                raise ConfigurationError(f"{prefix}_API_KEY and {prefix}_API_SECRET are missing: {prefix}_PAPER is set")
            followers.append(EnvironmentFollower(broker=broker, follower_id=follower_id, credentials=credentials))
        return followers

    def check(self) -> None:
        """Read everything that is else read on demand, so that every mistake shows at the start.

        Raises ConfigurationError; also where two accounts of a broker have the same key.
        """
        owners: dict[tuple[Broker, str], str] = {}
        for broker in Broker:
            for part, check_url in URL_PARTS.items():
                url = self.url(broker, part)
                try:
                    _ = url and check_url(url)
                except ValueError as error:
                    raise ConfigurationError(f"{broker.name}_{part} {error}") from None
            self.master_values(broker)
            self.nonce_above(broker)
            master = self.master_credentials(broker)
            if master is not None:
                owners[broker, key_hash(master.api_key)] = f"{master_prefix(broker)}_API_KEY"
        for follower in self.followers():
            name = f"{follower.broker.name}_USER_{follower.follower_id.upper()}_API_KEY"
            other = owners.setdefault((follower.broker, key_hash(follower.credentials.api_key)), name)
            if other != name:
                raise ConfigurationError(
                    f"{name} and {other} are the same key: an account copies one master, and never itself"
                )

    def _credentials(self, broker: Broker, prefix: str) -> Credentials | None:
        given = {part: self.values.get(f"{prefix}_{part.name}", "") for part in KeyPart}
        there = cleaned(given)
        if not there:
            return None
        rules = profile_of(broker).keys
        missing = [f"{prefix}_{part.name}" for part in rules.forms if part not in there]
        if missing:
            present = f"{prefix}_{next(iter(there)).name}"
            raise ConfigurationError(
                f"{' and '.join(missing)} missing: {present} is set, and each is useless without the other"
            )
        text = bare(self.values.get(f"{prefix}_PAPER", ""))
        if text.lower() not in _TRUE | _FALSE:
            raise ConfigurationError(f"{prefix}_PAPER={text} is not valid: should be true or false")
        try:
            return read_key(rules, given, paper=text.lower() in _TRUE, at_broker=self.url(broker, "BASE_URL") is None)
        except KeyFault as fault:
            raise ConfigurationError(f"{prefix}_{fault.part.name}: {fault}") from None
