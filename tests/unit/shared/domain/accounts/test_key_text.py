"""Tests what is removed around a key and what is refused inside it, and that no message repeats the key."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from shared.brokers.registry import profile_of
from shared.domain.accounts.credentials import Credentials, KeyFault, KeyPart, read_key, usual_form
from shared.domain.accounts.key_text import NotText, bare, bare_key, bare_passphrase, decoded
from shared.domain.identity import Broker

EC_KEY = ec.generate_private_key(ec.SECP256R1())
SEC1 = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
PKCS8 = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

KRAKEN_KEY, KRAKEN_SECRET = "k" * 55 + "/", "c2VjcmV0" * 11
OKX_KEY, OKX_SECRET, OKX_PASSPHRASE = "0b1c2d3e-0000-4111-8222-0123456789ab", "0123456789ABCDEF" * 2, "Correct Horse 1!"
ALPACA_SECRET = "a1B2" * 10
BINANCE_KEY, BINANCE_SECRET = "b" * 64, "s" * 64
COINBASE_KEY = "organizations/0b1c2d3e-0000-4111-8222-0123456789ab/apiKeys/1b1c2d3e-0000-4111-8222-0123456789ab"


def read(
    broker: Broker, key: str, secret: str, passphrase: str = "", *, paper: bool = False, at_broker: bool = True
) -> Credentials:
    given = {KeyPart.API_KEY: key, KeyPart.API_SECRET: secret, KeyPart.PASSPHRASE: passphrase}
    return read_key(profile_of(broker).keys, given, paper=paper, at_broker=at_broker)


def refused(
    broker: Broker, key: str, secret: str, passphrase: str = "", *, paper: bool = False, at_broker: bool = True
) -> KeyFault:
    with pytest.raises(KeyFault) as raised:
        read(broker, key, secret, passphrase, paper=paper, at_broker=at_broker)
    return raised.value


@pytest.mark.parametrize(
    "text",
    [
        "key",
        ' "key" ',
        "'key'\r\n",
        "“key”",
        "\ufeffkey",
        "\u200b\u00a0key\u2060\t",
        " ' \" key \" ' ",
        "`key`\n\n",
        "«key»",
        "\u3000key\ufe0f",
    ],
)
def test_quotes_and_blanks_around_a_key_are_removed(text: str) -> None:
    """As word processors, spreadsheets, chat programs and environment files of Docker and Kubernetes add them."""
    assert bare(text) == "key"


@pytest.mark.parametrize("pem", [SEC1, PKCS8], ids=["sec1", "pkcs8"])
@pytest.mark.parametrize(
    "spoil",
    [
        str.strip,
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: pem.replace("\n", "\\\\n"),
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", "\\r\\n"),
        lambda pem: pem.replace("\n", " "),
        lambda pem: pem.replace("\n", ""),
        lambda pem: f'"{pem.strip()}"',
        lambda pem: "'" + pem.replace("\n", "\\n") + "'\n",
        lambda pem: "\ufeff" + pem.replace("\n", "\n    "),
        lambda pem: PARAMETERS + pem,
        lambda pem: json.dumps({"name": COINBASE_KEY, "privateKey": pem}),
        lambda pem: "COINBASE_API_SECRET=" + pem,
    ],
)
def test_a_pem_key_is_read_however_its_line_ends_are_written(pem: str, spoil: object) -> None:
    """Real line ends, written ones, lost ones; quoted, indented, or in the file that Coinbase lets one download."""
    text = spoil(pem)  # type: ignore[operator]
    assert read(Broker.COINBASE, COINBASE_KEY, text).api_secret.get_secret_value() == pem


@pytest.mark.parametrize(
    "secret",
    [
        SEC1[: len(SEC1) // 2],
        SEC1.replace("END EC", "end EC"),
        SEC1.splitlines()[1],
        SEC1 + PKCS8,
        EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")).decode(),
        SEC1.replace("M", "", 1),
        ec.generate_private_key(ec.SECP256K1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode(),
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "c2VlZA==",
        "not a key at all",
    ],
    ids=[
        "half",
        "no end",
        "body only",
        "two",
        "public",
        "encrypted",
        "a letter lost",
        "curve",
        "rsa",
        "short",
        "words",
    ],
)
def test_what_cannot_sign_for_coinbase_is_refused_when_it_is_given(secret: str) -> None:
    """And not at the first order; the text names the secret and shows none of it."""
    fault = refused(Broker.COINBASE, COINBASE_KEY, secret)
    assert fault.part is KeyPart.API_SECRET
    assert not any(line in str(fault) for line in secret.splitlines() if "-----" not in line)


def test_coinbases_newer_keys_are_read() -> None:
    """Ed25519: 64 bytes as base64, its seed alone, or PEM."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert read(Broker.COINBASE, COINBASE_KEY, f' "{KRAKEN_SECRET[:-2]}==" ')
    assert read(Broker.COINBASE, COINBASE_KEY, pem).api_secret.get_secret_value() == pem


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("abc def", "blanks"),
        ("abc\u200bdef", "invisible"),
        ("abc\u00a0def", "blanks"),
        ("abc # my key", "comment"),
        ('"abc', "quote at one end"),
        ("abc'", "quote at one end"),
        ("BINANCE_API_KEY=abc", "begins with a name"),
        ("export BINANCE_API_KEY='abc'", "begins with a name"),
        ("api key: abc", "begins with a name"),
        ('"apiKey": "abc",', "begins with a name"),
        ('{"apiKey": "abc"}', "JSON"),
        ("${BINANCE_API_KEY}", "placeholder"),
        ("<your key>", "placeholder"),
        ("your-api-key", "placeholder"),
        ("****", "placeholder"),
        ("abc,def", "characters that no key has"),
        ("abcdé", "characters that no key has"),
        ("abc%2Fdef", "characters that no key has"),
        (BINANCE_SECRET, "same as the API key"),
        ("", "empty"),
        (' "" ', "empty"),
    ],
)
@pytest.mark.parametrize("part", [KeyPart.API_KEY, KeyPart.API_SECRET])
def test_what_can_be_no_key_is_refused_with_what_would_be_right(part: KeyPart, key: str, words: str) -> None:
    """Each kind of fault has its words, in the key and in the secret alike."""
    other = BINANCE_SECRET
    fault = refused(Broker.BINANCE, *((key, other) if part is KeyPart.API_KEY else (other, key)))
    assert words in str(fault)
    assert words == "same as the API key" or fault.part is part


@pytest.mark.parametrize("secret", ["abc=", "YWI=", "YWJjZA==", "a1b2"])
def test_the_end_of_base64_text_is_no_name_in_front(secret: str) -> None:
    """`abcd==` ends with padding and does not begin with a name."""
    assert read(Broker.BINANCE, BINANCE_KEY, secret).api_secret.get_secret_value() == secret


@pytest.mark.parametrize(
    ("passphrase", "words"),
    [
        (f" {OKX_PASSPHRASE}", "blanks"),
        (f"{OKX_PASSPHRASE}\t", "blanks"),
        (f"{OKX_PASSPHRASE}\u200b", "invisible"),
        (f"\u00a0{OKX_PASSPHRASE}", "blanks"),
        (f'"{OKX_PASSPHRASE}"', "quotes"),
        (f"“{OKX_PASSPHRASE}”", "quotes"),
        ("pass\u00e9", "no passphrase has"),
        ("pa\tss", "no passphrase has"),
        (f"OKX_PASSPHRASE={OKX_PASSPHRASE}", "begins with a name"),
        (f"{OKX_PASSPHRASE} # of the first account", "comment"),
        ("", "OKX keys have a passphrase"),
        (OKX_SECRET, "same as the API secret"),
    ],
)
def test_a_passphrase_is_not_guessed(passphrase: str, words: str) -> None:
    """A person chose it, so what stands around it may be meant; it is refused and named."""
    fault = refused(Broker.OKX, OKX_KEY, OKX_SECRET, passphrase)
    assert fault.part is KeyPart.PASSPHRASE
    assert words in str(fault)
    assert "Horse" not in str(fault)


def test_a_passphrase_keeps_what_is_inside() -> None:
    """Blanks, quotes and = inside are its own; only line ends around it, which no header can carry, are removed."""
    for passphrase in (OKX_PASSPHRASE, "it's=1!Ab", '"Ab1!xyz', "a:b#C1!d"):
        found = read(Broker.OKX, OKX_KEY, OKX_SECRET, f"\ufeff{passphrase}\r\n").passphrase
        assert found is not None
        assert found.get_secret_value() == passphrase
    assert bare_passphrase("\r\nword \n") == "word "


@pytest.mark.parametrize(
    ("broker", "key", "secret", "passphrase"),
    [
        (Broker.KRAKEN, KRAKEN_SECRET, KRAKEN_KEY, ""),
        (Broker.OKX, OKX_SECRET, OKX_KEY, OKX_PASSPHRASE),
        (Broker.OKX, OKX_KEY, OKX_PASSPHRASE.replace(" ", ""), OKX_SECRET),
        (Broker.ALPACA, ALPACA_SECRET, "AK" + "A" * 18, ""),
        (Broker.COINBASE, SEC1, COINBASE_KEY, ""),
    ],
)
def test_swapped_parts_are_recognised(broker: Broker, key: str, secret: str, passphrase: str) -> None:
    """Where the forms of a broker's key, secret and passphrase differ."""
    assert "swapped" in str(refused(broker, key, secret, passphrase))


@pytest.mark.parametrize("length", [18, 24])
def test_a_paper_key_of_alpaca_is_not_taken_for_a_live_one(length: int) -> None:
    """Nor the other way round; servers at a base URL make keys as they like."""
    paper_key, live_key = "PK" + "A" * length, "AK" + "A" * length
    assert "ALPACA_PAPER=true" in str(refused(Broker.ALPACA, paper_key, ALPACA_SECRET))
    assert "live trading" in str(refused(Broker.ALPACA, live_key, ALPACA_SECRET, paper=True))
    assert read(Broker.ALPACA, paper_key, ALPACA_SECRET, paper=True).paper
    assert not read(Broker.ALPACA, live_key, ALPACA_SECRET).paper
    assert read(Broker.ALPACA, paper_key, ALPACA_SECRET, at_broker=False)


def test_an_unusual_length_is_said_and_not_refused() -> None:
    """Brokers change the forms of their keys; the hint is added to the broker's own refusal."""
    cut = read(Broker.KRAKEN, KRAKEN_KEY[:-1], KRAKEN_SECRET)
    assert usual_form(profile_of(Broker.KRAKEN).keys, Broker.KRAKEN, cut) == (
        "the API key of kraken usually has 56 characters (this one has 55 characters)"
    )
    for broker, *parts in (
        (Broker.KRAKEN, KRAKEN_KEY, KRAKEN_SECRET),
        (Broker.OKX, OKX_KEY, OKX_SECRET, OKX_PASSPHRASE),
        (Broker.BINANCE, BINANCE_KEY, BINANCE_SECRET),
        (Broker.ALPACA, "AK" + "A" * 18, ALPACA_SECRET),
        (Broker.COINBASE, COINBASE_KEY, SEC1),
    ):
        assert usual_form(profile_of(broker).keys, broker, read(broker, *parts)) == ""


def test_a_binance_pem_secret_is_put_in_order_too() -> None:
    """Binance has keys that are signed with a private key of the user's own."""
    assert bare_key(PKCS8.replace("\n", "\\n")) == PKCS8
    assert read(Broker.BINANCE, BINANCE_KEY, PKCS8.replace("\n", "\\n")).api_secret.get_secret_value() == PKCS8


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_files_are_read_in_the_encodings_that_windows_writes(encoding: str) -> None:
    """With a byte order mark or without; the mark is no part of the text."""
    assert decoded("A=1\r\n".encode(encoding)) == "A=1\r\n"
    assert decoded("x".encode(encoding)) == "x"


@pytest.mark.parametrize("raw", [b"PK\x03\x04\x00\x00\x08\x00", b"caf\xe9", b"\xff\xfe\x00"])
def test_what_is_no_text_is_not_taken_for_text(raw: bytes) -> None:
    """A spreadsheet's own format, another encoding, half a character."""
    with pytest.raises(NotText):
        decoded(raw)
