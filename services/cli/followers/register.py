"""`nija followers register`: stores the followers that the environment names.

`nija up` does the same when it starts. Containers run this command once before the stages start.
"""

from typing import Annotated

import typer

from services.cli import output
from services.local_system.errors import away_is_a_failed_start
from services.local_system.record import settings_of_running_system
from services.local_system.run_facts import runs_on_paper
from shared.actions.keys_at_start import refuse_shared_accounts
from shared.actions.register_followers import Key
from shared.actions.register_followers import register_followers as register
from shared.config import ConfigurationError, Settings, load_settings
from shared.config.operator import Keys, open_actions


def register_followers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the followers of the environment (`{BROKER}_USER_{NAME}_API_KEY`, …) known, their keys encrypted.

    The environment is the whole list: a follower that was named there before and is not any more is disabled. So is one
    whose account another follower or the master has, as far as the broker reports whose account a key opens. Without
    DATABASE_URL, the nija that runs here stores them.
    """
    with away_is_a_failed_start():
        settings = _settings()
    followers = settings.environment_followers()
    with away_is_a_failed_start(), open_actions(settings, keys=Keys.OPEN) as context:
        done = register(context, followers)
        taken = refuse_shared_accounts(context, followers, done)
    changes = {
        "added": done.added,
        "updated": done.updated,
        "disabled": done.disabled,
        "removed_before": done.removed_before,
    }
    if as_json:
        listed = {what: [_key_json(key) for key in keys] for what, keys in changes.items()}
        reasons = {"refused": {**done.refused, **taken}, "postponed": done.postponed}
        explained = {
            what: [_key_json(key) | {"reason": why} for key, why in keys.items()] for what, keys in reasons.items()
        }
        output.print_json({**listed, **explained})
        return
    output.console.print(f"{output.counted(len(followers), 'follower')} in the environment")
    for what, keys in changes.items():
        for broker, follower_id in keys:
            output.console.print(f"{follower_id} at {broker.value}: {what.replace('_', ' ')}")
    for (broker, follower_id), why in done.refused.items():
        output.console.print(f"{follower_id} at {broker.value}: disabled, its new key is not used: {why}")
    for (broker, follower_id), why in taken.items():
        output.console.print(f"{follower_id} at {broker.value}: disabled: {why}")
    for (broker, follower_id), why in done.postponed.items():
        output.console.print(f"{follower_id} at {broker.value}: keeps its old key for now: {why}")


def _settings() -> Settings:
    settings = load_settings()
    if settings.database_url is not None:
        return settings
    if runs_on_paper(settings.home):
        raise ConfigurationError(
            f"nija runs on paper in {settings.home}, with followers of its own: the environment's are for "
            "`nija up` without --paper, or for the servers that REDIS_URL and DATABASE_URL name"
        )
    return settings_of_running_system(settings)


def _key_json(key: Key) -> dict[str, str]:
    broker, follower_id = key
    return {"broker": broker.value, "follower": follower_id}
