"""`nija followers add`, `import` and `replace-key`: the commands that store a key."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.cli.actor import actor
from services.cli.arguments import about, chosen_broker, reached_system
from services.cli.followers.credentials import KeyFiles, read_credentials
from services.cli.followers.import_file import format_of, read_import_file
from services.cli.followers.options import (
    AllowWithdrawOption,
    ApiKeyFile,
    ApiSecretFile,
    BrokerOption,
    FollowerArgument,
    JsonOption,
    NoCheckOption,
    PaperOption,
    PassphraseFile,
    ReasonOption,
    SameAccountOption,
)
from services.cli.followers.output import print_notes, print_result, same_key
from shared.actions import followers as actions
from shared.actions.import_followers import ImportFormat, import_followers, read_rows
from shared.config import parse_broker
from shared.config.operator import Keys, open_actions, open_connections
from shared.domain.identity import Broker, FollowerId, parse_follower_id
from shared.persistence.errors import AmbiguousFollower
from shared.queries.followers import read_follower

_ASKING = "asking the broker what the key may do"


def add(
    follower: FollowerArgument,
    broker: Annotated[str, typer.Option("--broker", "-b", help="Where the account is: kraken, okx, …")],
    api_key_file: ApiKeyFile = None,
    api_secret_file: ApiSecretFile = None,
    passphrase_file: PassphraseFile = None,
    paper: PaperOption = False,
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
    settings, all_paper = reached_system()
    with open_actions(settings, keys=Keys.OPEN, all_paper=all_paper) as context:
        context.require_redis([where])  # before a person is asked for a key
        files = KeyFiles(api_key_file, api_secret_file, passphrase_file)
        credentials = read_credentials(where, files, paper=paper, at_broker=settings.base_url(where) is None)
        with output.progress(_ASKING):
            result = actions.add_follower(
                context,
                where,
                follower_id,
                credentials,
                allow_withdraw=allow_withdraw,
                check=not no_check,
                actor=actor(),
                reason=reason,
            )
    print_notes(result.notes)
    print_result(result.follower, "added", as_json=as_json)


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines; - reads standard input.")],
    form: Annotated[
        ImportFormat | None, typer.Option("--format", help="By default the end of the file's name decides.")
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
    settings, all_paper = reached_system()
    rows = read_rows(text, form, elsewhere={each for each in Broker if settings.base_url(each) is not None})
    with (
        open_actions(settings, keys=Keys.OPEN, all_paper=all_paper) as context,
        output.progress(f"importing {output.counted(len(rows), 'follower')}"),
    ):
        result = import_followers(context, rows, check=not no_check, actor=actor(), reason=reason)
    print_notes(result.notes)
    if as_json:
        counts = {broker.value: count for broker, count in sorted(result.counts.items())}
        output.print_json({"imported": result.count, "brokers": counts})
    else:
        output.console.print(f"imported {output.counted(result.count, 'follower')}")


def replace_key(
    follower: FollowerArgument,
    broker: BrokerOption = None,
    api_key_file: ApiKeyFile = None,
    api_secret_file: ApiSecretFile = None,
    passphrase_file: PassphraseFile = None,
    paper: PaperOption = False,
    allow_withdraw: AllowWithdrawOption = False,
    same_account: SameAccountOption = False,
    no_check: NoCheckOption = False,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a follower another API key of the same account; a disabled follower copies again.

    A key of another account is refused, because what was copied belongs to the account of the old key.
    """
    settings, all_paper = reached_system()
    with open_connections(settings) as connections, about("--broker", AmbiguousFollower):
        # The broker decides which parts a key has.
        where = read_follower(connections, FollowerId(follower), chosen_broker(broker)).broker
    with open_actions(settings, keys=Keys.OPEN, all_paper=all_paper) as context:
        context.require_redis([where])
        files = KeyFiles(api_key_file, api_secret_file, passphrase_file)
        credentials = read_credentials(where, files, paper=paper, at_broker=settings.base_url(where) is None)
        with output.progress(_ASKING):
            result = actions.replace_key(
                context,
                FollowerId(follower),
                credentials,
                where,
                allow_withdraw=allow_withdraw,
                same_account=same_account,
                check=not no_check,
                actor=actor(),
                reason=reason,
            )
    print_notes(result.notes)
    print_result(result.follower, "has another key" if result.changed else same_key(result.follower), as_json=as_json)
