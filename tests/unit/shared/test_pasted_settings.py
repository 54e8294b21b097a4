"""Tests settings as people paste them and as Docker and Kubernetes pass them on: quotes, blanks, byte order marks."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shared.config import ConfigurationError, Settings, load_settings, secrets_among
from shared.domain.identity import Broker
from shared.observability.redaction import Redactor

SECRET = "c2VjcmV0" * 11
OKX = {"OKX_API_KEY": "okx-key", "OKX_API_SECRET": "okx-secret", "OKX_PASSPHRASE": "Correct Horse 1!"}
KRAKEN = {"KRAKEN_MASTER_API_KEY": "kraken-key-1", "KRAKEN_MASTER_API_SECRET": SECRET}


def load(folder: Path, variables: dict[str, str]) -> Settings:
    return load_settings(variables, folder=folder)


def test_what_an_environment_file_of_docker_or_kubernetes_passes_on_is_removed(tmp_path: Path) -> None:
    """Both pass quotes and carriage returns on as a part of the value."""
    key = Fernet.generate_key().decode()
    variables = {
        "KRAKEN_MASTER_API_KEY": '"kraken-key-1"\r',
        "KRAKEN_MASTER_API_SECRET": f"'{SECRET}'\r",
        "KRAKEN_USER_ANN_API_KEY": "\u200bann-key\u00a0",
        "KRAKEN_USER_ANN_API_SECRET": f" {SECRET} ",
        "ALPACA_API_KEY": "“alpaca-key”",
        "ALPACA_API_SECRET": "alpaca-secret\n",
        "ALPACA_PAPER": '"true"\r',
        "NIJA_SECRET_KEY": f'"{key}"\r\n',
        "NIJA_BROKERS": '"kraken,alpaca"\r',
        "NIJA_DRAIN_PLACES": "'7'\r",
        "REDIS_URL": '"redis://:pass-word@host:6379/0"\r',
        "KRAKEN_BASE_URL": "'http://127.0.0.1:1'\r",
        "NIJA_FLOWER_BASIC_AUTH": '"operator:pass"',
    }
    settings = load(tmp_path, variables)
    assert settings.master_credentials(Broker.KRAKEN) == load(tmp_path, KRAKEN).master_credentials(Broker.KRAKEN)
    alpaca = settings.required_master_credentials(Broker.ALPACA)
    assert (alpaca.api_key.get_secret_value(), alpaca.api_secret.get_secret_value(), alpaca.paper) == (
        "alpaca-key",
        "alpaca-secret",
        True,
    )
    assert settings.environment_followers()[0].credentials.api_key.get_secret_value() == "ann-key"
    assert settings.secret_key.get_secret_value() == key
    assert settings.enabled_brokers() == (Broker.KRAKEN, Broker.ALPACA)
    assert (settings.drain_places, settings.redis_url) == (7, "redis://:pass-word@host:6379/0")
    assert settings.base_url(Broker.KRAKEN) == "http://127.0.0.1:1"
    again = load(tmp_path, settings.environment())
    assert again.environment() == settings.environment()


def test_a_cleaned_secret_is_as_secret_as_the_given_one(tmp_path: Path) -> None:
    """What is used is not the text that was given, and neither may show in a log."""
    settings = load(tmp_path, {**OKX, "OKX_API_SECRET": '" okx-secret "', "REDIS_URL": '"redis://:pass-word@host/0"'})
    shown = Redactor(settings.secrets()).text('sent okx-secret, given " okx-secret ", at pass-word')
    assert "okx-secret" not in shown
    assert "pass-word" not in shown


def test_blanks_and_quotes_alone_mean_not_set(tmp_path: Path) -> None:
    """As an empty variable does."""
    assert load(tmp_path, {"KRAKEN_MASTER_API_KEY": ' "" ', "KRAKEN_MASTER_API_SECRET": "\t"}).enabled_brokers() == ()
    with pytest.raises(ConfigurationError, match="KRAKEN_MASTER_API_SECRET missing: KRAKEN_MASTER_API_KEY is set"):
        load(tmp_path, KRAKEN | {"KRAKEN_MASTER_API_SECRET": "''"})


@pytest.mark.parametrize(
    ("variables", "reported"),
    [
        (OKX | {"OKX_PASSPHRASE": " zzz"}, "OKX_PASSPHRASE: the passphrase has blanks"),
        (OKX | {"OKX_PASSPHRASE": '"zzz"'}, "OKX_PASSPHRASE: the passphrase has quotes"),
        (OKX | {"OKX_API_KEY": "OKX_API_KEY=zzz"}, "OKX_API_KEY: the API key begins with a name"),
        (OKX | {"OKX_API_SECRET": "zzz # of the first"}, "OKX_API_SECRET: the API secret contains blanks"),
        (KRAKEN | {"KRAKEN_MASTER_API_KEY": SECRET}, "the API secret is the same as the API key"),
        (
            {"KRAKEN_USER_ANN_API_KEY": SECRET, "KRAKEN_USER_ANN_API_SECRET": "z" * 56},
            "KRAKEN_USER_ANN_API_KEY: the API key and the API secret are swapped",
        ),
        (
            {"ALPACA_USER_ANN_API_KEY": f"PK{'Z' * 18}", "ALPACA_USER_ANN_API_SECRET": "zzz"},
            "ALPACA_USER_ANN_API_KEY: the API key is for paper trading",
        ),
        ({"NIJA_SECRET_KEY": "NIJA_SECRET_KEY=zzz"}, "NIJA_SECRET_KEY should be one or more Fernet keys"),
    ],
)
def test_what_cannot_be_repaired_is_refused_by_name(tmp_path: Path, variables: dict[str, str], reported: str) -> None:
    """One line with the name of the variable, and nothing of its value; nor does the redaction of logs spoil it."""
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, variables)
    shown = Redactor().text(str(raised.value))
    assert reported in shown
    assert "\n" not in shown
    assert "zzz" not in shown.lower()
    assert SECRET not in shown


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_files_of_settings_are_read_in_the_encodings_that_windows_writes(tmp_path: Path, encoding: str) -> None:
    """The first variable of such a file was never found before."""
    (tmp_path / ".env").write_text(
        f"KRAKEN_MASTER_API_KEY=kraken-key-1\r\nKRAKEN_MASTER_API_SECRET='{SECRET}'\r\n", encoding=encoding
    )
    (tmp_path / "nija.toml").write_text("claim_seconds = 7\n", encoding=encoding)
    settings = load(tmp_path, {})
    assert settings.master_credentials(Broker.KRAKEN) == load(tmp_path, KRAKEN).master_credentials(Broker.KRAKEN)
    assert settings.claim_seconds == 7


def test_invisible_characters_in_front_of_a_name_do_not_hide_the_setting(tmp_path: Path) -> None:
    """They come with a copied line."""
    lines = ["\u200bKRAKEN_MASTER_API_KEY=“kraken-key-1” # mine", f"\u00a0KRAKEN_MASTER_API_SECRET = {SECRET}\u00a0"]
    (tmp_path / ".env").write_text("\n".join(lines))
    assert load(tmp_path, {}).master_credentials(Broker.KRAKEN) == load(tmp_path, KRAKEN).master_credentials(
        Broker.KRAKEN
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("KRAKEN_MASTER_API_KEY: zzz\n", 1),
        ('\nKRAKEN_MASTER_API_KEY="zzz\n', 2),
        ("KRAKEN_MASTER_API_KEY='zzz' yes\n", 1),
        ("# a key\nCOINBASE_API_SECRET=-----BEGIN EC PRIVATE KEY-----\nzzz\n-----END EC PRIVATE KEY-----\n", 4),
    ],
)
def test_a_line_that_is_no_setting_is_refused_by_its_number(tmp_path: Path, text: str, line: int) -> None:
    """It was left out without a word before, and with it the key."""
    (tmp_path / ".env").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, {})
    assert f".env, line {line}: should be NAME=value" in str(raised.value)
    assert "zzz" not in str(raised.value)


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x00\x01\x02\x03A"])
def test_a_binary_file_is_no_file_of_settings(tmp_path: Path, raw: bytes) -> None:
    """One line that names the file."""
    (tmp_path / ".env").write_bytes(raw)
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read: it should be a text file"):
        load(tmp_path, {})
    (tmp_path / ".env").unlink()
    (tmp_path / "secret.key").write_bytes(raw)
    with pytest.raises(ConfigurationError, match=r"secret\.key"):
        _ = load(tmp_path, {"NIJA_HOME": str(tmp_path)}).secret_key


@pytest.mark.parametrize("base_url", ["", "https://eea.okx.com", "http://127.0.0.1:8123"])
def test_limits_are_kept_at_every_host_unless_they_are_lifted(tmp_path: Path, base_url: str) -> None:
    """A paper broker has the limits of the real one, so its address changes nothing."""
    assert load(tmp_path, {"OKX_BASE_URL": base_url}).rate_limits
    assert not load(tmp_path, {"OKX_BASE_URL": base_url, "NIJA_RATE_LIMITS": "false"}).rate_limits


def test_a_quoted_name_of_a_file_names_the_file(tmp_path: Path) -> None:
    """NIJA_ENV_FILE and NIJA_CONFIG_FILE come from environment files, too."""
    (tmp_path / "my.env").write_text("NIJA_DRAIN_PLACES=7\n")
    assert load(tmp_path, {"NIJA_ENV_FILE": f'"{tmp_path / "my.env"}"\r'}).drain_places == 7
    (tmp_path / ".env").write_text("NIJA_DRAIN_PLACES=8\n")
    assert load(tmp_path, {"NIJA_ENV_FILE": '""'}).drain_places == 48


def test_bytes_that_are_no_text_in_a_secret_are_refused_like_any_other(tmp_path: Path) -> None:
    """The environment of a process may hold any bytes; neither the check nor the redaction stumbles over them."""
    latin = b"caf\xe9-caf\xe9".decode("utf-8", "surrogateescape")
    for name, variables in (("OKX_PASSPHRASE", OKX), ("OKX_API_SECRET", OKX)):
        with pytest.raises(ConfigurationError, match=f"^{name}: the "):
            load(tmp_path, variables | {name: latin})
    assert latin not in Redactor(secrets_among({"OKX_API_SECRET": latin})).text(f"sent {latin} away")
