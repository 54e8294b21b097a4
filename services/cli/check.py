"""`nija check …`: questions for a monitoring script. Exit code 0: yes; 1: no, or something is found; 2: wrong use."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Annotated

import typer

from services.cli import output
from services.cli.brokers import read_brokers
from services.cli.ledger import chosen_broker
from services.local_system import lock
from services.local_system.key_check import MASTER, AccountKey, check_keys, master_keys
from services.local_system.record import RunRecord, settings_of_running_system
from shared.config import ConfigurationError, Settings, load_settings, master_prefix
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId, parse_follower_id
from shared.persistence.database import open_engine
from shared.persistence.errors import UnknownFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.schema import check_database
from shared.queries.broker_facts import BrokerFacts

app = typer.Typer(
    help="Questions for a monitoring script: exit code 0 yes, 1 no or a finding, 2 wrong use.", no_args_is_help=True
)

BrokerOption = Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
GOOD = frozenset({KeyVerdict.FINE, KeyVerdict.ALLOWED, KeyVerdict.NOT_SET})


@app.command()
def keys(
    broker: BrokerOption = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every broker what the masters' and followers' keys may do; 0 if all may trade and none may withdraw.

    A key that may withdraw is a finding unless it is allowed by name: NIJA_ALLOW_WITHDRAW_KEYS=kraken:alice,alpaca:master
    or `nija followers add --allow-withdraw`. Alpaca tells nothing of keys, so its keys need that, except paper ones.
    A master whose key is not set here is listed, not checked, and no finding.
    """
    where = chosen_broker(broker)
    with output.progress("asking the brokers"):
        settings = settings_of_running_system(load_settings())
        asked = _all_keys(settings, where, None if follower is None else FollowerId(follower))
        holder = lock.holder(settings.home)
        all_paper = holder is not None and RunRecord(settings.home).is_paper()
        found = asyncio.run(check_keys(settings, asked, all_paper=all_paper))
        if follower is None:
            concerned = {where} if where else {*settings.enabled_brokers(), *(key.broker for key in asked)}
            found = [*_masters_without_key(settings, concerned, all_paper=all_paper), *found]
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
    else:
        _print(found)
    if any(each.verdict not in GOOD for each in found):
        raise typer.Exit(1)


@app.command()
def brokers(
    broker: BrokerOption = None,
    one_is_enough: Annotated[
        bool, typer.Option("--any", help="One broker that is connected and served is enough for exit code 0.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """0 if every configured broker is connected and served; with --any, if one is.

    Connected: its master's account was polled lately. Served: a copy engine and a worker are alive, and nothing waits
    for them. The last lines say what is missing.
    """
    where = chosen_broker(broker)
    with output.progress("asking"):
        settings = settings_of_running_system(load_settings())
        found = read_brokers(settings, where)
        configured = settings.enabled_brokers()
        if where is None and configured:
            # Followers at a broker that is switched off are no reason to expect it.
            found = [facts for facts in found if facts.broker in configured]
    good = [facts for facts in found if facts.connected and facts.served]
    if as_json:
        _print_brokers_as_json(found)
    else:
        _print_brokers(found)
    if not good or (len(good) < len(found) and not one_is_enough):
        raise typer.Exit(1)


def _print_brokers_as_json(found: Sequence[BrokerFacts]) -> None:
    output.print_json(
        {
            "brokers": [facts.broker.value for facts in found],
            "connected": [facts.broker.value for facts in found if facts.connected],
            "served": [facts.broker.value for facts in found if facts.served],
            "findings": [each.model_dump(mode="json") for facts in found for each in facts.shortcomings()],
        }
    )


def _print_brokers(found: Sequence[BrokerFacts]) -> None:
    for word, names in (
        ("connected", [facts.broker.value for facts in found if facts.connected]),
        ("served", [facts.broker.value for facts in found if facts.served]),
    ):
        listed = f" ({', '.join(names)})" if names else ""
        output.console.print(f"{word}: {len(names)} of {len(found)}{listed}")
    for facts in found:
        for finding in facts.shortcomings():
            output.console.print(f"✗ {finding.line}")


def _all_keys(settings: Settings, only: Broker | None, follower_id: FollowerId | None) -> list[AccountKey]:
    """The keys of masters and followers that are not removed. Raises UnknownFollower, ConfigurationError."""
    wanted = parse_follower_id(follower_id) if follower_id is not None else None
    found = [] if wanted else master_keys(settings, (only,) if only else tuple(Broker))
    found += _follower_keys(settings, only, wanted)
    if wanted and not found:
        raise UnknownFollower(f"--follower: there is no follower {wanted!r}; `nija followers list` shows who there is")
    if not found:
        raise ConfigurationError("there is no key to check: set a master account's key, or add followers")
    return found


def _masters_without_key(settings: Settings, brokers: Collection[Broker], *, all_paper: bool) -> list[CheckedKey]:
    """Those of the masters that nothing can be asked about from here."""
    missing = [broker for broker in Broker if broker in brokers and settings.master_credentials(broker) is None]
    return [
        CheckedKey(
            broker=broker,
            account=MASTER,
            role=MASTER,
            verdict=KeyVerdict.NOT_SET,
            message=(
                "not checked: only the running nija knows the paper master's key"
                if all_paper
                else f"not checked: {master_prefix(broker)}_API_KEY is not set here"
            ),
        )
        for broker in missing
    ]


def _follower_keys(settings: Settings, only: Broker | None, follower_id: FollowerId | None) -> list[AccountKey]:
    engine = open_engine(settings.required_database_url(), pool_size=1)
    try:
        check_database(engine)
        store = FollowerStore(engine, SecretBox(settings.secret_key))
        records = [
            record
            for record in store.all(only)
            if record.status is not FollowerStatus.REMOVED and follower_id in (None, record.follower_id)
        ]
        credentials = {
            broker: store.credentials(broker, [r.follower_id for r in records if r.broker is broker])
            for broker in {record.broker for record in records}
        }
    finally:
        engine.dispose()
    return [
        AccountKey(
            record.broker,
            record.follower_id,
            "follower",
            credentials[record.broker][record.follower_id],
            record.withdraw_allowed or settings.allows_withdraw(record.broker, record.follower_id),
        )
        for record in records
        if record.follower_id in credentials[record.broker]
    ]


def _print(found: Sequence[CheckedKey]) -> None:
    several, where = output.at_brokers([each.broker.value for each in found])
    shown = output.table(f"keys{where}")
    output.text_columns(shown, *(["broker"] if several else []), "account", "role", "verdict")
    output.message_column(shown, "meaning")
    for each in found:
        shown.add_row(
            *([each.broker.value] if several else []), each.account, each.role, each.verdict.value, each.message
        )
    output.show(shown)
