"""Tests that an import file names every fault with its row, and repeats nothing secret."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.domain.identity import Broker
from shared.persistence.errors import ImportRefused, ImportUnreadable
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
        'okx,bob,yes,secret,k2,"a,word"\n'
    )
    alice, bob = read_rows(text, ImportFormat.CSV)
    assert (alice.broker, alice.follower_id, alice.row) == (Broker.KRAKEN, "alice", 1)
    assert alice.credentials.api_key.get_secret_value() == "k1"
    assert alice.credentials.passphrase is None
    assert not alice.credentials.paper
    assert bob.row == 2
    assert bob.credentials.passphrase is not None
    assert bob.credentials.passphrase.get_secret_value() == "a,word"
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
        ("alice,kraken,BINANCE_API_KEY=k,c2VjcmV0,,", "api_key: the API key begins with a name"),
        ("alice,kraken,k,k,,", "api_secret: the API secret is the same as the API key"),
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
        ('{"follower_id":"a","broker":"kraken","api_key":"k","API Key":"k"}', "api_key is there more than once"),
        ('{"follower_id":"a","broker":"kraken","api_key":" ","api_secret":"c2VjcmV0"}', "api_key is missing"),
        ('{"a":' * 100_000, "JSON"),
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


def whole_fault(text: str) -> str:
    """What is wrong with the file as a whole."""
    with pytest.raises(ImportUnreadable) as raised:
        read_rows(text, ImportFormat.CSV)
    return str(raised.value)


@pytest.mark.parametrize("text", ["", HEADER, "\n\n", "\ufeff", "sep=;\n", " \t\r\n"])
def test_an_empty_file_is_an_error(text: str) -> None:
    """Nothing imported is never reported as success; it is the file's fault, and no row's."""
    assert "follower_id" in whole_fault(text)
    assert "row 0" not in whole_fault(text)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("follower_id,broker,api_key", "missing: api_secret"),
        ("follower_id,broker,api_key,api_secret,api_key", "api_key is there more than once, in columns 3 and 5"),
        ("follower_id,broker,API Key,api_secret,api-key", "api_key is there more than once, in columns 3 and 5"),
        ("follower_id,broker,api_key,api_secret,note", "column 5 is none of these"),
        ("follower_id,,broker,api_key,api_secret", "column 2 has no name"),
        ("follower_id broker api_key api_secret", "missing: follower_id, broker, api_key, api_secret"),
        ("alice,kraken,key-of-alice,c2VjcmV0", "missing: follower_id"),
        ('"follower_id,broker', "not readable as CSV"),
    ],
)
def test_a_wrong_header_is_the_files_fault(header: str, fault: str) -> None:
    """Missing, doubled and unknown columns are named by their place; no cell is repeated."""
    reported = whole_fault(f"{header}\n{GOOD}")
    assert fault in reported
    assert "row 0" not in reported
    assert "key-of-alice" not in reported


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "\ufeff", "\r\n\n", "sep={}\r\n", '"sep={}"\n'])
def test_the_separators_and_line_ends_of_spreadsheets_are_recognised(separator: str, line_end: str, first: str) -> None:
    """Which one is used follows from the header, or from Excel's line `sep=`."""
    text = first.format(separator) + (HEADER + GOOD).replace("\n", line_end).replace(",", separator)
    assert read_rows(text, ImportFormat.CSV) == read_rows(HEADER + GOOD, ImportFormat.CSV)


def test_excels_line_names_any_separator() -> None:
    """Also one that is never guessed; a secret with other separators in it is left whole."""
    text = "sep=~\n" + HEADER.replace(",", "~") + "bob~okx~key~secret~a,b;c|d~\n"
    passphrase = read_rows(text, ImportFormat.CSV)[0].credentials.passphrase
    assert passphrase is not None
    assert passphrase.get_secret_value() == "a,b;c|d"


def test_headers_and_cells_may_be_quoted_padded_and_capitalised() -> None:
    """As people write them; an OKX passphrase is the one cell that is never changed."""
    text = 'Follower ID; "Broker"; API-KEY ;api_secret;;\n"alice"; Kraken ; "key-of-alice" ;\tc2VjcmV0\u00a0;;\n;;;;;\n'
    rows = read_rows(text, ImportFormat.CSV)
    assert [(row.broker, row.follower_id, row.credentials) for row in rows] == [
        (Broker.KRAKEN, "alice", read_rows(HEADER + GOOD, ImportFormat.CSV)[0].credentials)
    ]
    padded = problems(HEADER + "bob,okx,key,secret, word ,\n")
    assert padded[1].startswith("passphrase: the passphrase has blanks")


def test_a_pem_key_stands_in_a_cell_with_its_line_ends_or_with_written_ones() -> None:
    """A quoted cell may have lines; so may the text of a JSON field."""
    pem = (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    row = {"follower_id": "alice", "broker": "coinbase", "api_key": "organizations/o/apiKeys/k", "api_secret": pem}
    for secret in (f'"{pem}"', pem.replace("\n", "\\n")):
        text = f"{','.join(row)}\nalice,coinbase,{row['api_key']},{secret}\n"
        assert read_rows(text, ImportFormat.CSV)[0].credentials.api_secret.get_secret_value() == pem
    found = read_rows(json.dumps(row), ImportFormat.JSON_LINES)
    assert found[0].credentials.api_secret.get_secret_value() == pem


def test_a_row_behind_a_broken_one_is_still_read() -> None:
    """All faults are reported at once, each with row and column, or with the row where the columns are not clear."""
    text = HEADER + 'a,kraken,"k"x,c2VjcmV0,,\n' + "b,kraken,k 2,c2VjcmV0,,\n" + "c,kraken,k3,c2VjcmV0,,,more\n"
    found = problems(text)
    assert set(found) == {1, 2, 3}
    assert "not readable as CSV" in found[1]
    assert found[2].startswith("api_key: the API key contains blanks")
    assert found[3].startswith("7 columns, but the header has 6")
    assert [fault[-len("(line 2 of the file)") :] for fault in found.values()] == [
        f"(line {line} of the file)" for line in (2, 3, 4)
    ]


def test_thousands_of_faults_do_not_flood_the_screen() -> None:
    """The first hundred are shown, the rest is counted; all are there for a program."""
    text = HEADER + "".join(f"a{number},kraken,,c2VjcmV0,,\n" for number in range(1, 1_001))
    with pytest.raises(ImportRefused) as raised:
        read_rows(text, ImportFormat.CSV)
    assert len(raised.value.problems) == 1_000
    assert str(raised.value).count("\n") == 101
    assert str(raised.value).endswith("and 900 more faulty rows")


def test_alpacas_paper_keys_may_go_to_a_server_of_ones_own() -> None:
    """At Alpaca itself a paper key needs `paper`; at an ALPACA_BASE_URL nothing is known of keys."""
    text = HEADER + f"a,alpaca,PK{'A' * 18},{'a1B2' * 10},,\n"
    assert "ALPACA_PAPER" in problems(text)[1]
    assert len(read_rows(text, ImportFormat.CSV, elsewhere=[Broker.ALPACA])) == 1


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
