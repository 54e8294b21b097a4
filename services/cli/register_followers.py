"""`nija followers register`: the followers that the environment names in, rows of the followers table out.

`nija up` does the same at its start; where the stages are started by something else (containers), this is a step
of its own, once before they start.
"""

from contextlib import ExitStack
from typing import Annotated

import typer
from redis import Redis

from services.cli import output
from services.cli.follower_desk import redis_that_hears
from services.local_system import lock
from services.local_system.errors import away_is_a_failed_start
from services.local_system.record import RunRecord, settings_of_running_system
from shared.config import ConfigurationError, load_settings
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.followers.environment import Key
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.schema import check_database


def register_followers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the followers of the environment (`{BROKER}_USER_{NAME}_API_KEY`, …) known, their keys encrypted.

    The environment is the whole list: who was named there before and is not any more is disabled. Without
    DATABASE_URL it is the nija that runs here that hears of them.
    """
    settings = load_settings()
    if settings.database_url is None:
        if lock.holder(settings.home) is not None and RunRecord(settings.home).is_paper():
            raise ConfigurationError(
                f"nija runs on paper in {settings.home}, with followers of its own: the environment's are for "
                "`nija up` without --paper, or for the servers that REDIS_URL and DATABASE_URL name"
            )
        settings = settings_of_running_system(settings)
    followers = settings.environment_followers()
    with away_is_a_failed_start(), ExitStack() as stack:
        engine = open_engine(settings.required_database_url(), pool_size=1)
        stack.callback(engine.dispose)
        check_database(engine)
        store = FollowerStore(engine, SecretBox(settings.secret_key))
        redis: dict[Broker, Redis] = {}
        for broker in {follower.broker for follower in followers} | {record.broker for record in store.all()}:
            redis[broker] = stack.enter_context(redis_that_hears(settings, broker))

        def announce(broker: Broker) -> None:
            redis[broker].incr(BrokerKeys(broker).roster)

        done = store.register_environment(followers, announce=announce)
    changes = {
        "added": done.added,
        "updated": done.updated,
        "disabled": done.disabled,
        "removed_before": done.removed_before,
    }
    if as_json:
        output.print_json({what: [_shown(key) for key in keys] for what, keys in changes.items()})
        return
    output.console.print(f"{output.counted(len(followers), 'follower')} in the environment")
    for what, keys in changes.items():
        for key in keys:
            output.console.print(f"{key[1]} at {key[0].value}: {what.replace('_', ' ')}")


def _shown(key: Key) -> dict[str, str]:
    return {"broker": key[0].value, "follower": key[1]}
