"""Reads and checks an import file of followers, in CSV or JSON lines. It returns all rows, or names every fault.

No message repeats a text from the file unless the text passed its check: in a shifted column it may be a secret.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, KeyFault, KeyPart, read_key
from shared.domain.accounts.key_text import bare
from shared.domain.errors import InvalidFollowerId
from shared.domain.identity import Broker, FollowerId, parse_follower_id
from shared.persistence.errors import ImportRefused, ImportUnreadable
from shared.persistence.followers.import_table import Columns, plain_name, read_table

COLUMNS: Final = Columns(("follower_id", "broker", "api_key", "api_secret"), ("passphrase", "paper"))

INVALID_ID: Final = (
    "the follower_id is not valid: use 1 to 64 lowercase letters, digits, '_', '-' or '.', beginning with a letter or "
    "digit"
)
"""The fault of a row. It does not repeat the id, which may be a secret in a wrong column."""

_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0", ""})
_HARMLESS = re.compile(r"[a-z]{1,12}")


class ImportFormat(StrEnum):
    CSV = "csv"
    JSON_LINES = "jsonl"


@dataclass(frozen=True, slots=True)
class NewFollower:
    """A follower that should join. `row` is its row in the import file, counted from 1 without the header."""

    broker: Broker
    follower_id: FollowerId
    credentials: Credentials
    row: int = 0
    withdraw_allowed: bool = False
    """The operator allowed the use of this key by name, although it may withdraw."""
    identity: str | None = None
    """The broker's own id of the account. None: the broker does not report it, or was not asked."""


class _Fault(Exception):
    """One row is faulty. The text says what is wrong."""


def read_rows(text: str, form: ImportFormat, *, elsewhere: Collection[Broker] = ()) -> list[NewFollower]:
    """Return the rows of the file. `elsewhere`: brokers whose requests go to a {BROKER}_BASE_URL.

    Raises ImportUnreadable when the file cannot be read at all. Raises ImportRefused with every faulty row.
    """
    problems: dict[int, str] = {}
    rows: list[NewFollower] = []
    first_with_id: dict[tuple[Broker, str], int] = {}
    first_with_key: dict[tuple[Broker, str], int] = {}
    records = _csv_records(text) if form is ImportFormat.CSV else _json_records(text)
    for number, (line, record) in enumerate(records, start=1):
        try:
            follower = _follower(number, record, elsewhere)
        except _Fault as fault:
            problems[number] = f"{fault} (line {line} of the file)"
            continue
        same_id = first_with_id.setdefault((follower.broker, follower.follower_id), number)
        api_key = follower.credentials.api_key.get_secret_value()
        same_key = first_with_key.setdefault((follower.broker, api_key), number)
        if same_id != number:
            problems[number] = f"follower id {follower.follower_id} is in row {same_id} already"
        elif same_key != number:
            problems[number] = f"the API key is in row {same_key} already; each follower has a key of its own"
        rows.append(follower)
    if problems:
        raise ImportRefused(problems)
    if not rows:
        raise ImportUnreadable(f"the file has no rows; each needs {', '.join(COLUMNS.required)}")
    return rows


def _csv_records(text: str) -> Iterator[tuple[int, dict[str, Any] | _Fault]]:
    for row in read_table(text, COLUMNS):
        yield row.line, _Fault(row.fault) if row.fault else dict(row.cells)


def _json_records(text: str) -> Iterator[tuple[int, dict[str, Any] | _Fault]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content, object_pairs_hook=_fields)
        except json.JSONDecodeError as error:
            yield line, _Fault(f"not readable as JSON: {error.msg} in column {error.colno}")
        except RecursionError:
            yield line, _Fault("a JSON object is needed, {...}, and not one inside another")
        except _Fault as fault:
            yield line, fault
        else:
            yield line, record if isinstance(record, dict) else _Fault("a JSON object is needed, {...}")


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object with normalized names. Raises _Fault when a known name occurs twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        plain = plain_name(name)
        if plain in found and plain in COLUMNS.all:
            raise _Fault(f"{plain} is there more than once")
        found[plain] = value
    return found


def _follower(number: int, record: dict[str, Any] | _Fault, elsewhere: Collection[Broker]) -> NewFollower:
    if isinstance(record, _Fault):
        raise record
    unknown = len(set(record) - set(COLUMNS.all))
    if unknown:
        names = ", ".join((*COLUMNS.required, *COLUMNS.optional))
        raise _Fault(f"{unknown} unknown field(s); the fields are {names}")
    broker = _broker(bare(_text(record, "broker")))
    try:
        follower_id = parse_follower_id(bare(_text(record, "follower_id")))
    except InvalidFollowerId:
        raise _Fault(INVALID_ID) from None
    given = {part: _text(record, part.value, required=part is not KeyPart.PASSPHRASE) for part in KeyPart}
    try:
        key = read_key(
            profile_of(broker).keys, given, paper=_flag(record.get("paper")), at_broker=broker not in elsewhere
        )
    except KeyFault as fault:
        raise _Fault(f"{fault.part.value}: {fault}") from None
    return NewFollower(broker, follower_id, key, number)


def _text(record: dict[str, Any], name: str, *, required: bool = True) -> str:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise _Fault(f"{name} must be text")
    if required and not bare(value or ""):
        raise _Fault(f"{name} is missing")
    return value or ""


def _broker(name: str) -> Broker:
    try:
        return Broker(name.lower())
    except ValueError:
        shown = f" {name!r}" if _HARMLESS.fullmatch(name) else ""
        raise _Fault(f"broker: unknown broker{shown}; the brokers are {', '.join(Broker)}") from None


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = "" if value is None else bare(str(value)).lower()
    if text not in _TRUE | _FALSE:
        raise _Fault("paper must be true or false")
    return text in _TRUE
