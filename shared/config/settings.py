"""Defines every setting with its default and its checks, and computes what follows from several settings.

A field is one environment variable: its name in capitals after `NIJA_`, or the alias that it states.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasGenerator, Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from shared.config.broker_variables import BrokerVariables, master_prefix
from shared.config.errors import ConfigurationError
from shared.config.secrets import passwords_in, secrets_among
from shared.config.sources import variable_names
from shared.config.values import (
    AccountNames,
    ApiToken,
    BasicAuth,
    Brokers,
    DatabaseUrl,
    Percent,
    PollSeconds,
    Port,
    RedisUrl,
    Seconds,
    SecondsOrNever,
    SecretKeys,
    Stocks,
    StrategyChanges,
    secret_keys,
    strategy_parameters,
)
from shared.domain.accounts.credentials import Credentials, EnvironmentFollower
from shared.domain.accounts.key_text import NotText, bare, decoded
from shared.domain.accounts.secret_key import HOW_TO_MAKE_A_KEY
from shared.domain.capital.scaling import DEFAULT_STOCKS
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.identity import Broker
from shared.domain.strategy.parameters import ApexParameters
from shared.domain.strategy.schedule import CYCLE_SECONDS


class Settings(BaseSettings):
    """All settings. Durations are seconds. Made by `load_settings`; made directly, it reads nothing: all defaults."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        case_sensitive=True,
        alias_generator=AliasGenerator(validation_alias=lambda field: f"NIJA_{field.upper()}"),
        # Flags are given by the fields' names.
        validate_by_name=True,
    )

    home: Path = Path(".nija")
    """NIJA_HOME, the data folder: embedded servers, logs, the secret key."""
    database_url: DatabaseUrl | None = Field(default=None, repr=False, validation_alias="DATABASE_URL")
    """DATABASE_URL; None: the embedded PostgreSQL."""
    redis_url: RedisUrl | None = Field(default=None, repr=False, validation_alias="REDIS_URL")
    """REDIS_URL; None: the embedded Redis."""
    configured_secret_key: SecretKeys | None = Field(default=None, validation_alias="NIJA_SECRET_KEY")
    """NIJA_SECRET_KEY as configured; ask `secret_key`."""
    brokers: Brokers = ()
    """NIJA_BROKERS: the enabled brokers; empty: those with a master's credentials. Ask `enabled_brokers`."""

    master_poll_seconds: PollSeconds = 2.0
    """NIJA_MASTER_POLL_SECONDS: `nija status` reports an account that was not polled for a minute."""
    follower_shards: int = Field(default=16, ge=1, le=4096)
    deliver_batch: int = Field(default=500, ge=1, le=10_000)
    """Followers in one delivery."""
    claim_seconds: Seconds = 20.0
    drain_time_box_seconds: Seconds = 15.0
    drain_places: int = Field(default=48, ge=1, le=1000)
    """Followers in flight in one drain."""
    worker_children: int = Field(default=2, ge=1, le=64)
    snapshot_max_age_seconds: Seconds = 3600.0
    """NIJA_SNAPSHOT_MAX_AGE_SECONDS: a follower whose account was read longer ago opens nothing."""
    snapshot_refresh_seconds: Seconds = 720.0
    """NIJA_SNAPSHOT_REFRESH_SECONDS: an account is read again after this time if nothing else asks for it."""
    open_max_age_seconds: Seconds = 60.0
    """NIJA_OPEN_MAX_AGE_SECONDS: an open is sent only within this time after the master's execution."""
    open_price_limit_percent: Percent = Decimal("1.5")
    """NIJA_OPEN_PRICE_LIMIT_PERCENT: how far above the master's price an open may buy."""
    open_price_limit_liquid_percent: Percent = Decimal("0.5")
    """NIJA_OPEN_PRICE_LIMIT_LIQUID_PERCENT: the same for BTC and ETH."""
    request_timeout_seconds: Seconds = 10.0
    reconcile_every_seconds: SecondsOrNever = 3600.0
    """NIJA_RECONCILE_EVERY_SECONDS: how often the bookkeeper compares accounts with the ledger by itself; 0: never."""
    reconcile_repair: bool = False
    """NIJA_RECONCILE_REPAIR: whether it then repairs what `nija reconcile --repair` would, or only alerts."""
    allow_withdraw_keys: AccountNames = ()
    """NIJA_ALLOW_WITHDRAW_KEYS: accounts whose keys may be ones that may withdraw, as `kraken:alice,alpaca:master`."""
    stocks: Stocks = DEFAULT_STOCKS
    """NIJA_STOCKS: the stocks that the strategy may buy, as `AAPL,MSFT,SPY`."""
    assets: Stocks = ()
    """NIJA_ASSETS: the only assets that the strategy may buy, as `BTC,ETH`; none: all that the account's size allows."""
    multi_broker_independent: bool | None = Field(default=None, validation_alias="MULTI_BROKER_INDEPENDENT")
    """MULTI_BROKER_INDEPENDENT: whether the strategy trades the master accounts; None: on paper only."""
    trader_cycle_seconds: Seconds = CYCLE_SECONDS
    """NIJA_TRADER_CYCLE_SECONDS: from one cycle of a broker's trader to the next."""
    paper_market_clock: bool = False
    """NIJA_PAPER_MARKET_CLOCK: the traders follow the time of a paper broker's market, which is in the past."""
    strategy: StrategyChanges = ()
    """NIJA_STRATEGY: parameters of the strategy that differ from their defaults, as `emergency=0.02,conditions=4`."""
    rate_limits: bool = True
    """NIJA_RATE_LIMITS: keep within the brokers' limits. Paper brokers have the same limits. Benchmarks lift them."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_file: Path | None = None
    """NIJA_LOG_FILE: the log is appended to this file, and to a new one when it is renamed; None: standard error."""
    debug: bool = False
    """NIJA_DEBUG: print a traceback with the line that says why a process cannot start."""
    heartbeat_file: Path | None = None
    """NIJA_HEARTBEAT_FILE: touched about every second while the process is alive; None: none is written."""
    flower_basic_auth: BasicAuth | None = None
    """NIJA_FLOWER_BASIC_AUTH, `name:password`: who may look into Flower, which does not start without."""
    api_token: ApiToken | None = None
    """NIJA_API_TOKEN: a token of the API with the role `admin`, for a start without tokens in the database."""
    api_port: Port | None = None
    """NIJA_API_PORT, where `nija up` serves the API; None: a free port is chosen, and kept."""
    api_requests_per_minute: int = Field(default=600, ge=10, le=1_000_000)
    """NIJA_API_REQUESTS_PER_MINUTE, of one token. A request that changes something counts as ten."""
    embedded_redis_port: Port | None = None
    """NIJA_EMBEDDED_REDIS_PORT; None: a free one is chosen."""

    _of_brokers: BrokerVariables = PrivateAttr(default_factory=BrokerVariables)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the keyword `sources`, in its order.

        The sources depend on the process' environment and folder, and a keyword is what pydantic-settings lets
        through to this method; its own sources would read os.environ wherever a Settings is made.
        """
        given = init_settings.init_kwargs.pop("sources", ()) if isinstance(init_settings, InitSettingsSource) else ()
        return (init_settings, *given)

    @model_validator(mode="before")
    @classmethod
    def _without_what_stands_around(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Remove quotes and blanks around texts: Docker's and Kubernetes' environment files pass them on.

        What is empty then is left out: an empty variable means "not set", whatever a file says.
        """
        bared = {name: bare(value) if isinstance(value, str) else value for name, value in given.items()}
        return {name: value for name, value in bared.items() if value != ""}

    def with_variables(self, variables: Mapping[str, str]) -> Self:
        """The same settings, knowing the brokers' variables."""
        copy = self.model_copy()
        copy._of_brokers = BrokerVariables(dict(variables))  # noqa: SLF001 - our own
        return copy

    @property
    def open_limits(self) -> OpenLimits:
        """The limits of age and price that hold for every open."""
        return OpenLimits(
            max_age=timedelta(seconds=self.open_max_age_seconds),
            margin=self.open_price_limit_percent.scaleb(-2),
            margin_of_liquid=self.open_price_limit_liquid_percent.scaleb(-2),
        )

    @property
    def emergency_folders(self) -> tuple[Path, ...]:
        """Where a file EMERGENCY_STOP stops trading: the working folder and NIJA_HOME."""
        return tuple({Path.cwd(), self.home.absolute()})

    @property
    def strategy_parameters(self) -> ApexParameters:
        """The parameters of the strategy."""
        return strategy_parameters(self.strategy)

    @property
    def secret_key(self) -> SecretStr:
        """One or more Fernet keys, separated by commas: NIJA_SECRET_KEY, else the file that `nija up` made.

        Raises ConfigurationError when there is neither.
        """
        if self.configured_secret_key is not None:
            return self.configured_secret_key
        try:
            raw = self.secret_key_file.read_bytes()
        except OSError:
            raise ConfigurationError(
                f"NIJA_SECRET_KEY is missing (and there is no {self.secret_key_file}): {HOW_TO_MAKE_A_KEY}"
            ) from None
        try:
            return secret_keys(SecretStr(decoded(raw)))
        except (NotText, ValueError) as error:
            raise ConfigurationError(f"{self.secret_key_file} {error}") from None

    @property
    def secret_key_file(self) -> Path:
        return self.home / "secret.key"

    def required_database_url(self) -> str:
        """DATABASE_URL, for processes that do not start servers. Raises ConfigurationError."""
        if self.database_url is None:
            raise ConfigurationError(
                "DATABASE_URL is missing: set it to a PostgreSQL server (postgresql://user:<password>@host:5432/nija), "
                "or run everything with `nija up`"
            )
        return self.database_url

    def redis_url_for(self, broker: Broker) -> str:
        """{BROKER}_REDIS_URL, else REDIS_URL. Raises ConfigurationError when there is neither."""
        own = self.own_redis_url(broker)
        if own is not None:
            return own
        if self.redis_url is None:
            raise ConfigurationError(
                "REDIS_URL is missing: set it to a Redis server (redis://:<password>@host:6379/0), "
                "or run everything with `nija up`"
            )
        return self.redis_url

    def redis_setting_for(self, broker: Broker) -> str:
        """The name of the setting that `redis_url_for` returns."""
        return "REDIS_URL" if self.own_redis_url(broker) is None else f"{broker.name}_REDIS_URL"

    def own_redis_url(self, broker: Broker) -> str | None:
        """{BROKER}_REDIS_URL, the Redis that this broker has for itself; None: it has none."""
        return self._of_brokers.url(broker, "REDIS_URL")

    def base_url(self, broker: Broker) -> str | None:
        """{BROKER}_BASE_URL, where that broker's traffic goes instead of to the broker itself; None: to the broker."""
        return self._of_brokers.url(broker, "BASE_URL")

    def proxy(self, broker: Broker) -> str | None:
        """{BROKER}_PROXY, an http(s) proxy that this broker's traffic goes through; None: none."""
        return self._of_brokers.url(broker, "PROXY")

    def nonce_above(self, broker: Broker) -> int:
        """{BROKER}_NONCE_ABOVE: nija uses only larger nonces with keys of this broker; 0: the clock decides alone."""
        return self._of_brokers.nonce_above(broker)

    def master_values(self, broker: Broker) -> dict[str, Decimal | None]:
        """{BROKER}_MASTER_VALUES: US dollars per unit of assets that the broker does not price; None: ignore the asset."""
        return self._of_brokers.master_values(broker)

    def allows_withdraw(self, broker: Broker, account: str) -> bool:
        """Whether the key of this account (`master`, or a follower's id) may be one that may withdraw."""
        return f"{broker.value}:{account}" in self.allow_withdraw_keys

    def enabled_brokers(self) -> tuple[Broker, ...]:
        """NIJA_BROKERS, else every broker with a master's credentials."""
        return self.brokers or tuple(broker for broker in Broker if self.master_credentials(broker) is not None)

    def master_credentials(self, broker: Broker) -> Credentials | None:
        """The master's key at this broker; None when there is none."""
        return self._of_brokers.master_credentials(broker)

    def required_master_credentials(self, broker: Broker) -> Credentials:
        """The master's key. Raises ConfigurationError that names the variables when there is none."""
        credentials = self.master_credentials(broker)
        if credentials is None:
            prefix = master_prefix(broker)
            raise ConfigurationError(
                f"{prefix}_API_KEY and {prefix}_API_SECRET are missing: set them to the master account's key"
            )
        return credentials

    def environment_followers(self) -> list[EnvironmentFollower]:
        """The followers that {BROKER}_USER_{NAME}_… variables name, ordered by broker and id."""
        return self._of_brokers.followers()

    def secrets(self) -> list[SecretStr]:
        """Every secret among the settings, for the log's redaction."""
        found = [secret for secret in (self.configured_secret_key, self.flower_basic_auth, self.api_token) if secret]
        found += secrets_among(self._of_brokers.values)
        return found + passwords_in((self.database_url, self.redis_url))

    def environment(self) -> dict[str, str]:
        """The variables that give a process these same settings, and no file besides; secrets in clear."""
        found = dict(self._of_brokers.values)
        for field, name in variable_names(type(self)).items():
            value = getattr(self, field)
            match value:
                case None | ():
                    continue
                case SecretStr():
                    found[name] = value.get_secret_value()
                case tuple():
                    found[name] = ",".join(value)
                case Path():
                    found[name] = str(value.absolute())
                case _:
                    found[name] = str(value)
        return {**found, "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
