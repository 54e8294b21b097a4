"""Builds what actions and queries work with from the settings, for the command line and for any other front end."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum, auto

from sqlalchemy import Engine

from shared.actions.context import ActionContext, BrokerAccess, RedisAddress
from shared.config.errors import ConfigurationError
from shared.config.settings import Settings
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_blocking_redis
from shared.persistence.api.requests import RequestStore
from shared.persistence.api.tokens import TokenStore
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.targets import Targets
from shared.persistence.reports.reports import Reports
from shared.persistence.schema import check_database
from shared.persistence.stops import StopStore
from shared.queries.connections import Connections


class Keys(Enum):
    """Whether NIJA_SECRET_KEY is read, which opens followers' keys."""

    CLOSED = auto()
    IF_SET = auto()
    """Without it, an action that turns out to need keys raises BadSecretKey."""
    OPEN = auto()
    """Without it, ConfigurationError is raised at once."""


def action_context(
    settings: Settings, engine: Engine, *, secret_box: SecretBox | None = None, all_paper: bool = False
) -> ActionContext:
    """The context of all actions on this database. `all_paper`: no account is a real one."""
    return ActionContext(
        store=FollowerStore(engine, secret_box),
        reports=Reports(engine),
        targets=Targets(engine),
        stops=StopStore(engine),
        tokens=TokenStore(engine),
        requests=RequestStore(engine),
        access=BrokerAccess(
            redis_of=lambda broker: RedisAddress(settings.redis_setting_for(broker), settings.redis_url_for(broker)),
            base_urls={broker: url for broker in Broker if (url := settings.base_url(broker)) is not None},
            proxies={broker: url for broker in Broker if (url := settings.proxy(broker)) is not None},
            request_timeout_seconds=settings.request_timeout_seconds,
            nonces_above={broker: settings.nonce_above(broker) for broker in Broker},
            all_paper=all_paper,
        ),
        masters={broker: key for broker in Broker if (key := settings.master_credentials(broker)) is not None},
        enabled=settings.enabled_brokers(),
        emergency_folders=settings.emergency_folders,
        withdraw_allowed=frozenset(
            (Broker(broker), account)
            for broker, _, account in (name.partition(":") for name in settings.allow_withdraw_keys)
        ),
    )


@contextmanager
def open_actions(
    settings: Settings, *, keys: Keys = Keys.CLOSED, all_paper: bool = False, pool_size: int = 1
) -> Iterator[ActionContext]:
    """Open the database for actions. Raises ConfigurationError, DatabaseUnavailable, DatabaseUnusable, SchemaOutdated."""
    engine = open_engine(settings.required_database_url(), pool_size=pool_size)
    try:
        check_database(engine)
        yield action_context(settings, engine, secret_box=_secret_box(settings, keys), all_paper=all_paper)
    finally:
        engine.dispose()


@contextmanager
def open_connections(
    settings: Settings, *, redis: bool = False, keys: Keys = Keys.CLOSED, check: bool = True, pool_size: int = 1
) -> Iterator[Connections]:
    """Open the database for queries, and with `redis` also the Redis of each broker. Brokers of one Redis share a client.

    `check`: raise DatabaseUnavailable, DatabaseUnusable or SchemaOutdated now, and not in the first query.
    """
    with ExitStack() as stack:
        engine = open_engine(settings.required_database_url(), pool_size=pool_size)
        stack.callback(engine.dispose)
        if check:
            check_database(engine)
        brokers = Broker if redis else ()
        urls = {broker: settings.own_redis_url(broker) or settings.redis_url for broker in brokers}
        by_url = {url: stack.enter_context(open_blocking_redis(url, as_text=True)) for url in {*urls.values()} if url}
        clients = {broker: by_url[url] for broker, url in urls.items() if url}
        yield Connections(engine, clients, _secret_box(settings, keys))


def _secret_box(settings: Settings, keys: Keys) -> SecretBox | None:
    if keys is Keys.CLOSED:
        return None
    try:
        return SecretBox(settings.secret_key)
    except ConfigurationError:
        # A file that is there and cannot be read is a fault, and its text says more than a missing key.
        if keys is Keys.OPEN or settings.secret_key_file.exists():
            raise
        return None
