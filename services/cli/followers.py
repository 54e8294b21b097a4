"""`nija followers`: who copies. Arguments in, changes of the followers table out; the stages hear of each at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli import follower_output, output
from services.cli.actor import actor
from services.cli.follower_credentials import KeyNotUsable, is_masters_key, read_credentials
from services.cli.follower_desk import Desk, desk_settings, open_desk, require_usable, unusable_keys
from services.cli.follower_files import format_of, read_import_file
from shared.config import ConfigurationError, parse_broker
from shared.domain.amounts import plain
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId, parse_follower_id
from shared.persistence.errors import FollowerTaken, ImportRefused, UnknownFollower
from shared.persistence.followers.import_file import ImportFormat, NewFollower, read_rows
from shared.persistence.followers.records import FollowerRecord

app = typer.Typer(help="Who copies: add, import, show, pause, resume, remove.", no_args_is_help=True)

FollowerArgument = Annotated[str, typer.Argument(metavar="FOLLOWER", help="The follower's id.")]
BrokerOption = Annotated[str | None, typer.Option("--broker", "-b", help="Needed when the id is at several brokers.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the change.")]
ApiKeyFile = Annotated[
    Path | None, typer.Option(help="File with the API key; else NIJA_FOLLOWER_API_KEY, else a prompt.")
]
ApiSecretFile = Annotated[
    Path | None, typer.Option(help="File with the API secret; else NIJA_FOLLOWER_API_SECRET, else a prompt.")
]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase (OKX); else NIJA_FOLLOWER_PASSPHRASE, else a prompt.")
]


AllowWithdrawOption = Annotated[
    bool, typer.Option("--allow-withdraw", help="Take the key even if it may withdraw, or the broker does not tell.")
]
NoCheckOption = Annotated[bool, typer.Option("--no-check", help="Do not ask the broker what the key may do.")]


def _find(follower_id: FollowerId, broker: str | None) -> FollowerRecord:
    """The follower meant; without a broker, the only one of that id. Raises UnknownFollower, ConfigurationError."""
    with open_desk() as desk:
        if broker is not None:
            return desk.store.get(parse_broker(broker, "--broker"), follower_id)
        found = [record for record in desk.store.all(removed=True) if record.follower_id == follower_id]
    if not found:
        raise UnknownFollower(f"there is no follower {follower_id!r}; see `nija followers list`")
    if len(found) > 1:
        names = ", ".join(record.broker.value for record in found)
        raise ConfigurationError(f"--broker: {follower_id!r} is a follower at {names}; say which is meant")
    return found[0]


@app.command()
def add(
    follower: FollowerArgument,
    broker: Annotated[str, typer.Option("--broker", "-b", help="Where the account is: kraken, okx, …")],
    api_key_file: ApiKeyFile = None,
    api_secret_file: ApiSecretFile = None,
    passphrase_file: PassphraseFile = None,
    paper: Annotated[bool, typer.Option("--paper", help="The key is of the broker's paper trading.")] = False,
    allow_withdraw: AllowWithdrawOption = False,
    no_check: NoCheckOption = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let an account copy from the next fill on.

    Its keys are encrypted with NIJA_SECRET_KEY. An id is given once: a removed follower's id stays taken. The broker
    is asked what the key may do, if it can be reached: one that may withdraw is refused unless it is allowed by name.
    """
    where = parse_broker(broker, "--broker")
    follower_id = parse_follower_id(follower)
    with open_desk(announcing={where}, keys=True) as desk:
        credentials = read_credentials(
            desk.settings,
            where,
            api_key_file=api_key_file,
            api_secret_file=api_secret_file,
            passphrase_file=passphrase_file,
            paper=paper,
        )
        if is_masters_key(desk.settings, where, credentials):
            raise KeyNotUsable(f"this is the master's own key at {where.value}; an account cannot copy itself")
        new = NewFollower(where, follower_id, credentials, withdraw_allowed=allow_withdraw)
        if taken := desk.store.taken([new]):  # before the broker is asked: it would only say what does not matter
            raise FollowerTaken(next(iter(taken.values())))
        require_usable(desk, new, ask=not no_check)
        desk.store.add(
            where,
            follower_id,
            credentials,
            withdraw_allowed=allow_withdraw,
            actor=actor(),
            reason=reason,
            announce=desk.announce,
        )
        _show_result(desk.store.get(where, follower_id), "added", as_json=as_json)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines; - reads standard input.")],
    form: Annotated[
        ImportFormat | None, typer.Option("--format", help="Told by the file's name when not given.")
    ] = None,
    no_check: NoCheckOption = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let many accounts copy from the next fill on: all rows of the file, or none.

    Fields: follower_id, broker, api_key, api_secret, and where needed passphrase, paper. The brokers are asked what
    the keys may do, if they can be reached; NIJA_ALLOW_WITHDRAW_KEYS names those that may withdraw.
    """
    form = form or format_of(file)
    text = read_import_file(file)
    settings = desk_settings()
    elsewhere = {broker for broker in Broker if settings.base_url(broker) is not None}
    rows = read_rows(text, form, elsewhere=elsewhere)
    brokers = {row.broker for row in rows}
    with open_desk(announcing=brokers, keys=True) as desk:
        masters = {
            row.row: "this is the master's own key; an account cannot copy itself"
            for row in rows
            if is_masters_key(desk.settings, row.broker, row.credentials)
        }
        if masters:
            raise ImportRefused(masters)
        if taken := desk.store.taken(rows):
            raise ImportRefused(taken)
        if not no_check and (unusable := unusable_keys(desk, rows)):
            raise ImportRefused(unusable)
        with output.progress(f"importing {output.counted(len(rows), 'follower')}"):
            desk.store.import_rows(rows, actor=actor(), reason=reason, announce=desk.announce)
    if as_json:
        counts = {broker.value: sum(row.broker is broker for row in rows) for broker in sorted(brokers)}
        output.print_json({"imported": len(rows), "brokers": counts})
    else:
        output.console.print(f"imported {output.counted(len(rows), 'follower')}")


@app.command("list")
def list_followers(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker's.")] = None,
    removed: Annotated[bool, typer.Option("--removed", help="Those that were removed, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the followers with how their fills ended."""
    where = parse_broker(broker, "--broker") if broker else None
    with open_desk() as desk, output.progress("reading the ledger"):
        lines = desk.reports.followers(where)
        gone = [r for r in desk.store.all(where, removed=True) if r.status is FollowerStatus.REMOVED] if removed else []
    if as_json:
        output.print_json(
            [line.model_dump(mode="json") for line in lines] + [follower_output.record_json(record) for record in gone]
        )
    else:
        follower_output.print_list(lines, gone)


@app.command()
def show(follower: FollowerArgument, broker: BrokerOption = None, as_json: JsonOption = False) -> None:
    """Show one follower: status, policy, masked key, and who changed what."""
    record = _find(FollowerId(follower), broker)
    gone = record.status is FollowerStatus.REMOVED
    with open_desk(keys=not gone) as desk:
        credentials = {} if gone else desk.store.credentials(record.broker, [record.follower_id])
        changes = desk.store.changes(record.broker, record.follower_id)
    key = follower_output.masked(credentials[record.follower_id]) if credentials else None
    if as_json:
        output.print_json(
            follower_output.record_json(record)
            | {"key": key, "changes": [follower_output.change_json(each) for each in changes]}
        )
    else:
        follower_output.print_follower(record, key, changes)


@app.command()
def pause(
    follower: FollowerArgument, broker: BrokerOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    """Skip opens from now on; exits go on."""
    _set_status(_find(FollowerId(follower), broker), FollowerStatus.PAUSED, reason, as_json=as_json)


@app.command()
def resume(
    follower: FollowerArgument,
    broker: BrokerOption = None,
    no_check: NoCheckOption = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Copy again after a pause, or after nija disabled the follower because the broker refused its key.

    After a refusal the broker is asked again what the key may do; one that it still refuses is to be replaced.
    """
    record = _find(FollowerId(follower), broker)
    if record.status is FollowerStatus.DISABLED and not no_check:
        with open_desk(keys=True) as desk:
            for credentials in desk.store.credentials(record.broker, [record.follower_id]).values():
                allowed = record.withdraw_allowed
                require_usable(
                    desk, NewFollower(record.broker, record.follower_id, credentials, withdraw_allowed=allowed)
                )
    _set_status(record, FollowerStatus.ACTIVE, reason, as_json=as_json)


@app.command("replace-key")
def replace_key(
    follower: FollowerArgument,
    broker: BrokerOption = None,
    api_key_file: ApiKeyFile = None,
    api_secret_file: ApiSecretFile = None,
    passphrase_file: PassphraseFile = None,
    paper: Annotated[bool, typer.Option("--paper", help="The key is of the broker's paper trading.")] = False,
    allow_withdraw: AllowWithdrawOption = False,
    no_check: NoCheckOption = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a follower another API key of the same account; a disabled follower copies again."""
    record = _find(FollowerId(follower), broker)
    with open_desk(announcing={record.broker}, keys=True) as desk:
        credentials = read_credentials(
            desk.settings,
            record.broker,
            api_key_file=api_key_file,
            api_secret_file=api_secret_file,
            passphrase_file=passphrase_file,
            paper=paper,
        )
        if is_masters_key(desk.settings, record.broker, credentials):
            raise KeyNotUsable(f"this is the master's own key at {record.broker.value}; an account cannot copy itself")
        allowed = allow_withdraw or record.withdraw_allowed
        stored = desk.store.credentials_or_errors(record.broker, [record.follower_id]).get(record.follower_id)
        if stored == credentials and allowed == record.withdraw_allowed:
            _show_result(record, _same_key(record), as_json=as_json)
            return
        new = NewFollower(record.broker, record.follower_id, credentials, withdraw_allowed=allowed)
        require_usable(desk, new, ask=not no_check)
        desk.store.replace_credentials(
            record.broker,
            record.follower_id,
            credentials,
            withdraw_allowed=allowed,
            actor=actor(),
            reason=reason,
            announce=desk.announce,
        )
        _show_result(desk.store.get(record.broker, record.follower_id), "has another key", as_json=as_json)


@app.command()
def remove(
    follower: FollowerArgument, broker: BrokerOption = None, reason: ReasonOption = "", as_json: JsonOption = False
) -> None:
    """Wipe a follower's keys and never trade for it again; its history stays, and so does its id.

    Positions that were copied for it stay open at the broker: they are the account owner's from now on.
    """
    record = _find(FollowerId(follower), broker)
    with open_desk(announcing={record.broker}) as desk:
        if sys.stdin.isatty() and not as_json:
            open_now = _stays_open(desk, record)
            question = f"wipe the keys of {record.follower_id} at {record.broker.value} for good?"
            typer.confirm(f"{open_now}\n{question}" if open_now else question, abort=True, err=True)
        desk.store.remove(record.broker, record.follower_id, actor=actor(), reason=reason, announce=desk.announce)
        _show_result(desk.store.get(record.broker, record.follower_id), "removed; its id stays taken", as_json=as_json)
        open_now = _stays_open(desk, record)
        if open_now and not as_json:
            output.console.print(open_now)


def _stays_open(desk: Desk, record: FollowerRecord) -> str:
    """The money that stays in the market when nobody trades for the follower any more; empty: none was copied."""
    held = desk.reports.positions(record.broker, follower_id=record.follower_id)
    amounts = ", ".join(f"{plain(each.quantity)} {each.symbol.partition('/')[0]}" for each in held)
    return f"stay open: {amounts}; nija will not sell them" if amounts else ""


def _same_key(record: FollowerRecord) -> str:
    what = "has this key already: it is the one that is stored, and nothing was changed"
    if record.status is FollowerStatus.DISABLED:
        what += "; `nija followers resume` lets the follower copy again"
    return what


def _set_status(record: FollowerRecord, status: FollowerStatus, reason: str, *, as_json: bool) -> None:
    with open_desk(announcing={record.broker}) as desk:
        changed = desk.store.set_status(
            record.broker, record.follower_id, status, actor=actor(), reason=reason, announce=desk.announce
        )
        what = f"is {status.value}" if changed else f"was {status.value} already"
        _show_result(desk.store.get(record.broker, record.follower_id), what, as_json=as_json)


def _show_result(record: FollowerRecord, what: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(follower_output.record_json(record))
    else:
        output.console.print(f"{record.follower_id} at {record.broker.value} {what}")
