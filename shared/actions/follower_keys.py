"""The rules for the key of a follower, which every way to add or change one applies."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from shared.actions.context import ActionContext
from shared.actions.errors import KeyNotUsable
from shared.actions.key_check import ask_about_keys, key_of_follower, keys_of_masters
from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, usual_form
from shared.domain.accounts.key_check import CheckedKey, KeyVerdict
from shared.domain.identity import Broker
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.records import OF_MASTER, account_taken

MASTERS_KEY: Final = "this is the master's own key"
CANNOT_COPY_ITSELF: Final = "an account cannot copy itself"
_MOST_SHOWN: Final = 3
"""The most names in a line, and the most lines."""


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """The result of a check. `problems`: row number to the reason why its key may not be used."""

    problems: Mapping[int, str]
    notes: tuple[str, ...]
    """Lines about keys that could not be checked and were accepted."""
    identities: Mapping[int, str] = field(default_factory=dict)
    """Row number to the broker's own id of the account, where it was reported."""


def refuse_masters_key(context: ActionContext, broker: Broker, credentials: Credentials) -> None:
    """Raise KeyNotUsable when the key belongs to the master of this broker."""
    if context.is_masters_key(broker, credentials):
        raise KeyNotUsable(f"{MASTERS_KEY} at {broker.value}; {CANNOT_COPY_ITSELF}")


def check_rows(context: ActionContext, rows: Sequence[NewFollower]) -> CheckedRows:
    """Ask the brokers about the keys of these rows. A key that could not be checked is accepted with a note."""
    asked = [
        key_of_follower(context, row.broker, row.follower_id, row.credentials, allowed=row.withdraw_allowed)
        for row in rows
    ]
    found = asyncio.run(ask_about_keys(context.access, asked))
    # Another key of a master's account is not known by its hash. So the masters are asked for their accounts too.
    masters = keys_of_masters(context, sorted({each.broker for each in found if each.identity}))
    answers = asyncio.run(ask_about_keys(context.access, masters))
    of_masters = {(each.broker, each.identity) for each in answers if each.identity}
    problems = {row.row: each.message for row, each in zip(rows, found, strict=True) if not each.usable}
    for row, each in zip(rows, found, strict=True):
        if (each.broker, each.identity) in of_masters:
            problems[row.row] = account_taken(row.broker, row.follower_id, OF_MASTER)
    identities = {row.row: each.identity for row, each in zip(rows, found, strict=True) if each.identity}
    return CheckedRows(problems, _notes(found), identities)


@dataclass(frozen=True, slots=True)
class UsableKey:
    """A key that may be used. `notes`: lines that the operator should read."""

    notes: tuple[str, ...] = ()
    identity: str | None = None
    """The broker's own id of the account. None: the broker does not report it, or was not asked."""


def require_usable(context: ActionContext, follower: NewFollower, *, check: bool) -> UsableKey:
    """Return what was found out about the key of one follower. Raises KeyNotUsable when it may not be used.

    Without `check` the broker is not asked. The note then says how the key differs from the usual form, if it does.
    """
    if not check:
        unlike = usual_form(profile_of(follower.broker).keys, follower.broker, follower.credentials)
        return UsableKey((unlike,) if unlike else ())
    checked = check_rows(context, [follower])
    for problem in checked.problems.values():
        raise KeyNotUsable(problem)
    return UsableKey(checked.notes, checked.identities.get(follower.row))


def _notes(found: Sequence[CheckedKey]) -> tuple[str, ...]:
    not_checked: dict[str, list[str]] = {}
    for each in found:
        if each.verdict is KeyVerdict.NOT_CHECKED:
            not_checked.setdefault(each.message, []).append(each.account)
    return tuple(
        f"the key of {_names(accounts)} was not checked ({message}); see `nija check keys`"
        for message, accounts in islice(not_checked.items(), _MOST_SHOWN)
    )


def _names(accounts: Sequence[str]) -> str:
    return ", ".join(accounts[:_MOST_SHOWN]) + (", …" if len(accounts) > _MOST_SHOWN else "")
