"""Import files: every fault is named with its row, nothing secret is repeated."""

import json

import pytest

from shared.domain.identity import Broker
from shared.persistence.errors import ImportRefused
from shared.persistence.followers.import_file import ImportFormat, read_rows

HEADER = "follower_id,broker,api_key,api_secret,passphrase,paper\n"
GOOD = "alice,kraken,key-of-alice,c2VjcmV0,,\n"


def problems(text: str, form: ImportFormat = ImportFormat.CSV) -> dict[int, str]:
    with pytest.raises(ImportRefused) as raised:
        read_rows(text, form)
    return raised.value.problems


def test_reads_csv_with_every_field() -> None:
    """Columns may be in any order; paper and passphrase are optional."""
    text = (
        "broker,follower_id,paper,api_secret,api_key,passphrase\n"
        "kraken,alice,,c2VjcmV0,k1,\n\n"
        'okx,bob,yes,"a,secret",k2,word\n'
    )
    alice, bob = read_rows(text, ImportFormat.CSV)
    assert (alice.broker, alice.follower_id, alice.row) == (Broker.KRAKEN, "alice", 1)
    assert alice.credentials.api_key.get_secret_value() == "k1"
    assert alice.credentials.passphrase is None
    assert not alice.credentials.paper
    assert bob.row == 2
    assert bob.credentials.api_secret.get_secret_value() == "a,secret"
    assert bob.credentials.passphrase is not None
    assert bob.credentials.passphrase.get_secret_value() == "word"
    assert bob.credentials.paper


def test_reads_json_lines_as_csv() -> None:
    """The same rows come out of both formats."""
    row = {"follower_id": "alice", "broker": "kraken", "api_key": "key-of-alice", "api_secret": "c2VjcmV0"}
    text = json.dumps(row) + "\n\n" + json.dumps(row | {"follower_id": "bob", "api_key": "k2", "paper": True}) + "\n"
    alice, bob = read_rows(text, ImportFormat.JSON_LINES)
    assert alice == read_rows(HEADER + GOOD, ImportFormat.CSV)[0]
    assert bob.credentials.paper


def test_names_every_faulty_row_and_its_line() -> None:
    """All faults are reported at once, each with the number of its row and its line."""
    text = HEADER + GOOD + "Bob,kraken,k2,c2VjcmV0,,\n" + "\n" + "carol,binanz,k3,c2VjcmV0,,\n"
    found = problems(text)
    assert set(found) == {2, 3}
    assert "lowercase" in found[2]
    assert "line 3" in found[2]
    assert "unknown broker 'binanz'" in found[3]
    assert "line 5" in found[3]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("alice,kraken,,c2VjcmV0,,", "api_key is missing"),
        ("alice,kraken,k,,,", "api_secret is missing"),
        ("alice,kraken,k,not base64!,,", "API secret"),
        ("alice,okx,k,s,,", "passphrase"),
        ("alice,kraken,k,c2VjcmV0,,perhaps", "paper must be true or false"),
        ("alice,kraken,k,c2VjcmV0", "4 columns"),
        (",kraken,k,c2VjcmV0,,", "follower_id is missing"),
        ('alice,kraken,"k,c2VjcmV0,,', "CSV"),
    ],
)
def test_says_what_would_be_right(row: str, fault: str) -> None:
    """Each kind of fault has words of its own."""
    assert fault in problems(HEADER + row + "\n")[1]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "JSON"),
        ("[1]", "JSON object"),
        ('{"follower_id":"a","broker":"kraken","api_key":5,"api_secret":"c2VjcmV0"}', "api_key must be text"),
        ('{"follower_id":"a","broker":"kraken","api_key":"k","api_secret":"c2VjcmV0","x":1}', "unknown field"),
    ],
)
def test_says_what_would_be_right_in_json(line: str, fault: str) -> None:
    """The faults that only JSON can have."""
    assert fault in problems(line, ImportFormat.JSON_LINES)[1]


def test_refuses_the_same_id_or_key_twice() -> None:
    """Two rows may not name one follower, nor share one API key at a broker."""
    found = problems(HEADER + GOOD + "alice,kraken,k2,c2VjcmV0,,\nbob,kraken,key-of-alice,c2VjcmV0,,\n")
    assert "row 1 already" in found[2]
    assert "API key is in row 1" in found[3]


def test_the_same_id_at_two_brokers_is_two_followers() -> None:
    """Ids are per broker."""
    text = HEADER + GOOD + "alice,binance,key-of-alice,secret,,\n"
    assert [row.broker for row in read_rows(text, ImportFormat.CSV)] == [Broker.KRAKEN, Broker.BINANCE]


@pytest.mark.parametrize("text", ["", HEADER, "\n\n"])
def test_an_empty_file_is_an_error(text: str) -> None:
    """Nothing imported is never reported as success."""
    assert "follower_id" in problems(text)[0]


def test_a_missing_column_is_named() -> None:
    """A file without a header does not become a follower."""
    assert "api_secret" in problems("follower_id,broker,api_key\na,kraken,k\n")[0]


SECRET = "SeCrEt0123456789/TopSecretValue+ABC="


@pytest.mark.parametrize(
    "row",
    [
        f"{SECRET},kraken,k,c2VjcmV0,,",
        f"alice,{SECRET},k,c2VjcmV0,,",
        f"alice,kraken,k,{SECRET}!,,",
        f"alice,kraken,k,c2VjcmV0,,{SECRET}",
        f"alice,kraken,{SECRET}",
        f'alice,kraken,k,"{SECRET},,',
    ],
)
def test_no_message_repeats_a_secret_in_any_column(row: str) -> None:
    """In a shifted column a secret may stand anywhere; no error shows it."""
    with pytest.raises(ImportRefused) as raised:
        read_rows(HEADER + row + "\n", ImportFormat.CSV)
    assert SECRET not in str(raised.value)
