"""`nija check keys`: asks the brokers what the keys of masters and followers may do."""

from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli import output
from services.cli.arguments import about, chosen_broker, chosen_follower, running_system
from services.cli.check.options import BrokerOption, JsonOption
from shared.actions.check_keys import GOOD, check_keys
from shared.config import load_settings
from shared.config.operator import Keys, open_actions
from shared.domain.accounts.key_check import CheckedKey
from shared.persistence.errors import UnknownFollower


def keys(
    broker: BrokerOption = None,
    follower: Annotated[str | None, typer.Option("--follower", "-f", help="Only this follower's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every broker what the masters' and followers' keys may do; 0 if all may trade and none may withdraw.

    A key that may withdraw is a finding unless it is allowed by name: NIJA_ALLOW_WITHDRAW_KEYS=kraken:alice,alpaca:master
    or `nija followers add --allow-withdraw`. Alpaca reports nothing about keys, so its keys need that, except paper ones.
    A key that opens another follower's account, the master's account or another account than before is a finding
    (same_account). Ids of followers' accounts that were not known are stored.
    A master whose key is not set here is listed, not checked, and no finding.
    """
    where = chosen_broker(broker)
    follower_id = chosen_follower(follower)
    settings, all_paper = running_system(load_settings())
    with (
        output.progress("asking the brokers"),
        open_actions(settings, keys=Keys.OPEN, all_paper=all_paper) as context,
        about("--follower", UnknownFollower),
    ):
        found = check_keys(context, broker=where, follower_id=follower_id)
    if as_json:
        output.print_json([each.model_dump(mode="json") for each in found])
    else:
        _print(found)
    if any(each.verdict not in GOOD for each in found):
        raise typer.Exit(1)


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
