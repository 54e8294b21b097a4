"""An import file of followers: CSV or JSON lines in, checked rows out; all of them or an error that names each fault.

No message repeats what stood in the file, except what passed its check: in a shifted column it may be a secret.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import StringIO
from typing import Any, Final

from pydantic import SecretStr

from shared.domain.accounts.credentials import Credentials, malformed
from shared.domain.errors import InvalidFollowerId
from shared.domain.identity import Broker, parse_follower_id
from shared.persistence.errors import ImportRefused

REQUIRED: Final = ("follower_id", "broker", "api_key", "api_secret")
OPTIONAL: Final = ("passphrase", "paper")

_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0", ""})
_HARMLESS = re.compile(r"[a-z]{1,12}")


class ImportFormat(StrEnum):
    CSV = "csv"
    JSON_LINES = "jsonl"


@dataclass(frozen=True, slots=True)
class NewFollower:
    """A follower that is to join; `row` is its place in the import file, from 1, header not counted."""

    broker: Broker
    follower_id: str
    credentials: Credentials
    row: int = 0
    withdraw_allowed: bool = False
    """By name: the key may withdraw, and is used all the same."""


class _Fault(Exception):
    """What is wrong with one row."""


def read_rows(text: str, form: ImportFormat) -> list[NewFollower]:
    """Return the file's rows. Raises ImportRefused with every faulty row and what would be right."""
    problems: dict[int, str] = {}
    rows: list[NewFollower] = []
    first_with_id: dict[tuple[Broker, str], int] = {}
    first_with_key: dict[tuple[Broker, str], int] = {}
    records = _csv_records(text) if form is ImportFormat.CSV else _json_records(text)
    for number, (line, record) in enumerate(records, start=1):
        try:
            follower = _follower(number, record)
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
        raise ImportRefused({0: f"the file has no rows; each needs {', '.join(REQUIRED)}"})
    return rows


def _csv_records(text: str) -> Iterator[tuple[int, dict[str, Any] | _Fault]]:
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                _check_header(header)
            elif len(cells) != len(header):
                yield reader.line_num, _Fault(f"{len(cells)} columns, but the header has {len(header)}")
            else:
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        yield reader.line_num, _Fault(f"not readable as CSV: {error}")


def _check_header(header: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    known = {*REQUIRED, *OPTIONAL}
    if missing or len(set(header)) != len(header) or not set(header) <= known:
        raise ImportRefused(
            {
                0: "the first line must name the columns "
                f"{', '.join(REQUIRED)} and may name {', '.join(OPTIONAL)}, each once"
                + (f"; missing: {', '.join(missing)}" if missing else "")
            }
        )


def _json_records(text: str) -> Iterator[tuple[int, dict[str, Any] | _Fault]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except json.JSONDecodeError as error:
            yield line, _Fault(f"not readable as JSON: {error.msg} in column {error.colno}")
            continue
        if isinstance(record, dict):
            yield line, record
        else:
            yield line, _Fault("a JSON object is needed, {...}")


def _follower(number: int, record: dict[str, Any] | _Fault) -> NewFollower:
    if isinstance(record, _Fault):
        raise record
    unknown = len(set(record) - {*REQUIRED, *OPTIONAL})
    if unknown:
        raise _Fault(f"{unknown} unknown field(s); the fields are {', '.join((*REQUIRED, *OPTIONAL))}")
    broker = _broker(_text(record, "broker"))
    try:
        follower_id = parse_follower_id(_text(record, "follower_id"))
    except InvalidFollowerId:
        raise _Fault(
            "the follower_id is not valid: use 1 to 64 lowercase letters, digits, '_', '-' or '.', beginning with a "
            "letter or digit"
        ) from None
    passphrase = _text(record, "passphrase", required=False)
    credentials = Credentials(
        api_key=SecretStr(_text(record, "api_key")),
        api_secret=SecretStr(_text(record, "api_secret")),
        passphrase=SecretStr(passphrase) if passphrase else None,
        paper=_flag(record.get("paper")),
    )
    fault = malformed(broker, credentials)
    if fault:
        raise _Fault(fault)
    return NewFollower(broker, follower_id, credentials, number)


def _text(record: dict[str, Any], name: str, *, required: bool = True) -> str:
    value = record.get(name)
    if value is None or value == "":
        if required:
            raise _Fault(f"{name} is missing")
        return ""
    if not isinstance(value, str):
        raise _Fault(f"{name} must be text")
    return value.strip()


def _broker(name: str) -> Broker:
    try:
        return Broker(name)
    except ValueError:
        shown = f" {name!r}" if _HARMLESS.fullmatch(name) else ""
        raise _Fault(f"unknown broker{shown}; the brokers are {', '.join(Broker)}") from None


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = "" if value is None else str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise _Fault("paper must be true or false")
    return text in _TRUE
