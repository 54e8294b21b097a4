"""Tests where settings come from, which source wins, and what the error for a wrong setting says."""

import re
from base64 import b64encode
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shared.config import ConfigurationError, Settings, load_settings, misspelt_variables, without_settings
from shared.domain.identity import Broker

SECRET = b64encode(b"a secret of a test").decode()
OTHER_SECRET = b64encode(b"another secret of a test").decode()


def load(folder: Path, **variables: str) -> Settings:
    """Settings from exactly these variables and the files in `folder`."""
    return load_settings(variables, folder=folder)


def test_everything_has_a_default(tmp_path: Path) -> None:
    """Without variables and files, settings load and no broker is enabled."""
    settings = load(tmp_path)
    assert settings.master_poll_seconds == 2.0
    assert settings.enabled_brokers() == ()
    assert settings.environment_followers() == []
    assert settings.stocks == ("AAPL", "MSFT", "SPY")
    assert load(tmp_path, NIJA_STOCKS="NVDA, BRK.B").stocks == ("NVDA", "BRK.B")


def test_every_setting_is_read_by_somebody() -> None:
    """A setting that no code reads would promise something that does not happen."""
    top = Path(__file__).resolve().parents[3]
    code = "\n".join(file.read_text() for part in ("services", "shared") for file in (top / part).rglob("*.py"))
    assert [field for field in Settings.model_fields if not re.search(rf"\.{field}\b", code)] == []


def test_flag_beats_environment_beats_dotenv_beats_toml(tmp_path: Path) -> None:
    """The order of precedence is flag, environment, .env, nija.toml."""
    (tmp_path / "nija.toml").write_text(
        "deliver_batch = 1\nfollower_shards = 2\nclaim_seconds = 3\ndrain_places = 4\nkraken_base_url = 'http://toml'\n"
    )
    (tmp_path / ".env").write_text("NIJA_FOLLOWER_SHARDS=20\nNIJA_CLAIM_SECONDS=30\nNIJA_DRAIN_PLACES=40\n")
    variables = {"NIJA_CLAIM_SECONDS": "300", "NIJA_DRAIN_PLACES": "400"}
    settings = load_settings(variables, folder=tmp_path, drain_places=999, home=None)
    found = (settings.deliver_batch, settings.follower_shards, settings.claim_seconds, settings.drain_places)
    assert found == (1, 20, 300.0, 999)
    assert settings.base_url(Broker.KRAKEN) == "http://toml"


def test_followers_come_from_environment_and_dotenv(tmp_path: Path) -> None:
    """The id of a follower is its NAME in lowercase, with underscores. Followers from both sources count."""
    (tmp_path / ".env").write_text(f"KRAKEN_USER_ZOE_API_KEY=zoe-key\nKRAKEN_USER_ZOE_API_SECRET={SECRET}\n")
    settings = load(
        tmp_path,
        KRAKEN_USER_A_B_API_KEY="ab-key",
        KRAKEN_USER_A_B_API_SECRET=SECRET,
        ALPACA_USER_API_API_KEY="alpaca-key",
        ALPACA_USER_API_API_SECRET="alpaca-secret",
        ALPACA_USER_API_PAPER="TRUE",
    )
    followers = settings.environment_followers()
    assert [(each.broker, each.follower_id) for each in followers] == [
        (Broker.ALPACA, "api"),
        (Broker.KRAKEN, "a_b"),
        (Broker.KRAKEN, "zoe"),
    ]
    assert followers[0].credentials.paper
    assert followers[1].credentials.api_key.get_secret_value() == "ab-key"


def test_master_names_differ_per_broker(tmp_path: Path) -> None:
    """Kraken's master has variables KRAKEN_MASTER_…, the others {BROKER}_…. A key enables its broker."""
    settings = load(
        tmp_path,
        KRAKEN_MASTER_API_KEY="kraken-key",
        KRAKEN_MASTER_API_SECRET=SECRET,
        OKX_API_KEY="okx-key",
        OKX_API_SECRET="okx-secret",
        OKX_PASSPHRASE="okx-passphrase",
    )
    assert settings.enabled_brokers() == (Broker.KRAKEN, Broker.OKX)
    okx = settings.required_master_credentials(Broker.OKX)
    assert okx.passphrase is not None
    assert okx.passphrase.get_secret_value() == "okx-passphrase"
    with pytest.raises(ConfigurationError, match="BINANCE_API_KEY and BINANCE_API_SECRET are missing"):
        settings.required_master_credentials(Broker.BINANCE)


def test_a_broker_may_have_a_redis_of_its_own(tmp_path: Path) -> None:
    """{BROKER}_REDIS_URL takes precedence over REDIS_URL for that broker only."""
    settings = load(tmp_path, REDIS_URL="redis://all:1/0", OKX_REDIS_URL="redis://okx:2/0")
    assert settings.redis_url_for(Broker.OKX) == "redis://okx:2/0"
    assert settings.redis_url_for(Broker.KRAKEN) == "redis://all:1/0"
    with pytest.raises(ConfigurationError, match="REDIS_URL is missing"):
        load(tmp_path).redis_url_for(Broker.KRAKEN)


def test_rounds_over_accounts_are_hourly_repair_nothing_and_can_be_switched_off(tmp_path: Path) -> None:
    """0 switches rounds off. Repairs happen only on request."""
    settings = load(tmp_path)
    assert (settings.reconcile_every_seconds, settings.reconcile_repair) == (3600.0, False)
    off = load(tmp_path, NIJA_RECONCILE_EVERY_SECONDS="0", NIJA_RECONCILE_REPAIR="true")
    assert (off.reconcile_every_seconds, off.reconcile_repair) == (0, True)
    again = load_settings(off.environment(), folder=tmp_path)
    assert (again.reconcile_every_seconds, again.reconcile_repair) == (0, True)


MASTER = {"KRAKEN_MASTER_API_KEY": "same-key", "KRAKEN_MASTER_API_SECRET": SECRET}
BAD_INPUT = [
    ({"NIJA_MASTER_POLL_SECONDS": "soon"}, "NIJA_MASTER_POLL_SECONDS=soon is not valid: should be a valid number"),
    (
        {"NIJA_MASTER_POLL_SECONDS": "60"},
        "NIJA_MASTER_POLL_SECONDS=60 is not valid: should be less than or equal to 30",
    ),
    ({"NIJA_MASTER_POLL_SECONDS": "0"}, "NIJA_MASTER_POLL_SECONDS=0 is not valid: should be greater than 0"),
    ({"NIJA_RECONCILE_EVERY_SECONDS": "-1"}, "NIJA_RECONCILE_EVERY_SECONDS=-1 is not valid: should be greater than"),
    ({"NIJA_CLAIM_SECONDS": "nan"}, "NIJA_CLAIM_SECONDS=nan is not valid"),
    ({"NIJA_FOLLOWER_SHARDS": "1.5"}, "NIJA_FOLLOWER_SHARDS=1.5 is not valid"),
    ({"NIJA_LOG_LEVEL": "loud"}, "NIJA_LOG_LEVEL=loud is not valid: should be 'debug', 'info'"),
    (
        {"NIJA_EMBEDDED_REDIS_PORT": "70000"},
        "NIJA_EMBEDDED_REDIS_PORT=70000 is not valid: should be less than or equal to 65535",
    ),
    ({"NIJA_BROKERS": "kraken,krakn"}, "NIJA_BROKERS: unknown broker 'krakn'; known are coinbase, kraken"),
    ({"REDIS_URL": "http://host"}, "REDIS_URL should be a URL such as redis://"),
    ({"KRAKEN_REDIS_URL": "localhost:6379"}, "KRAKEN_REDIS_URL should be a URL such as redis://"),
    ({"DATABASE_URL": "mysql://host/nija"}, "DATABASE_URL should be a URL such as postgresql://"),
    ({"KRAKEN_BASE_URL": "127.0.0.1:80"}, "KRAKEN_BASE_URL should be a URL such as http://"),
    ({"KRAKEN_BASE_URL": "http://[bad"}, "KRAKEN_BASE_URL should be a URL such as http://"),
    (
        {"KRAKEN_MASTER_VALUES": "ABC=1.25"},
        "KRAKEN_MASTER_VALUES has 'ABC=1.25', which should be ASSET:<US dollars per unit> or ASSET:ignore",
    ),
    ({"KRAKEN_NONCE_ABOVE": "1.7e18"}, "KRAKEN_NONCE_ABOVE should be a whole number of at most 19 digits"),
    ({"KRAKEN_NONCE_ABOVE": "-1"}, "KRAKEN_NONCE_ABOVE should be a whole number of at most 19 digits"),
    ({"OKX_MASTER_VALUES": "ABC:-1"}, "OKX_MASTER_VALUES has 'ABC:-1', which should be ASSET:<US dollars per unit>"),
    ({"OKX_MASTER_VALUES": "ABC:1,abc:2"}, "OKX_MASTER_VALUES names ABC twice"),
    ({"NIJA_SECRET_KEY": "zzz"}, "NIJA_SECRET_KEY should be one or more Fernet keys, separated by commas; make one"),
    ({"KRAKEN_MASTER_API_KEY": "zzz"}, "KRAKEN_MASTER_API_SECRET missing: KRAKEN_MASTER_API_KEY is set"),
    ({"KRAKEN_MASTER_API_SECRET": "zzz"}, "KRAKEN_MASTER_API_KEY missing: KRAKEN_MASTER_API_SECRET is set"),
    (
        {"KRAKEN_MASTER_API_KEY": "k", "KRAKEN_MASTER_API_SECRET": "zzz!"},
        "KRAKEN_MASTER_API_SECRET: the API secret of Kraken is base64",
    ),
    ({"OKX_API_KEY": "k", "OKX_API_SECRET": "zzz"}, "OKX_PASSPHRASE missing: OKX_API_KEY is set"),
    ({"ALPACA_API_KEY": "k", "ALPACA_API_SECRET": "zzz", "ALPACA_PAPER": "maybe"}, "ALPACA_PAPER=maybe is not valid"),
    ({"KRAKEN_USER_ANN_API_KEY": "zzz"}, "KRAKEN_USER_ANN_API_SECRET missing: KRAKEN_USER_ANN_API_KEY is set"),
    ({"ALPACA_USER_ANN_PAPER": "true"}, "ALPACA_USER_ANN_API_KEY and ALPACA_USER_ANN_API_SECRET are missing"),
    ({"KRAKN_USER_ANN_API_KEY": "zzz"}, "KRAKN_USER_ANN_API_KEY: unknown broker 'krakn'; known are coinbase, kraken"),
    ({"KRAKEN_USER_A B_API_KEY": "zzz"}, "follower id 'a b' is not valid"),
    (
        {"KRAKEN_USER_ANN_API_KEY": "one", "KRAKEN_USER_Ann_API_KEY": "two"},
        "KRAKEN_USER_ANN_… and KRAKEN_USER_Ann_… both name the follower 'ann'",
    ),
    (
        {**MASTER, "KRAKEN_USER_ANN_API_KEY": "same-key", "KRAKEN_USER_ANN_API_SECRET": OTHER_SECRET},
        "KRAKEN_USER_ANN_API_KEY and KRAKEN_MASTER_API_KEY are the same key",
    ),
    (
        {"NIJA_STOCKS": "AAPL,apple inc"},
        "NIJA_STOCKS=apple inc is not valid: should be tickers in capitals, separated by commas",
    ),
    ({"NIJA_ASSETS": "btc"}, "NIJA_ASSETS=btc is not valid: should be tickers in capitals, separated by commas"),
]


@pytest.mark.parametrize(("variables", "expected"), BAD_INPUT, ids=[expected[:40] for _, expected in BAD_INPUT])
def test_bad_input_names_the_variable_and_what_would_be_right(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    """Each mistake has its own message, which never repeats a key."""
    with pytest.raises(ConfigurationError) as raised:
        load_settings(variables, folder=tmp_path)
    assert expected in str(raised.value)
    assert "zzz" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "nija.toml",
            "master_pol_seconds = 1\n",
            "master_pol_seconds is not a setting; did you mean master_poll_seconds?",
        ),
        ("nija.toml", "kraken_master_api_key = 'zzz'\n", "kraken_master_api_key is a secret: put it into .env"),
        ("nija.toml", "= = =", "is not valid TOML"),
        (
            ".env",
            "NIJA_MASTER_POL_SECONDS=1\n",
            "NIJA_MASTER_POL_SECONDS is not a setting; did you mean NIJA_MASTER_POLL",
        ),
        (".env", "KRAKEN_API_KEY=zzz\n", "KRAKEN_API_KEY is not a setting; did you mean KRAKEN_MASTER_API_KEY?"),
        (".env", "DATABSE_URL=zzz\n", "DATABSE_URL is not a setting; did you mean DATABASE_URL?"),
        (".env", "OKX_API_PASSPHRASE=zzz\n", "OKX_API_PASSPHRASE is not a setting; did you mean OKX_PASSPHRASE?"),
        (
            ".env",
            "BINANCE_USERS_ALICE_API_KEY=zzz\n",
            "BINANCE_USERS_ALICE_API_KEY is not a setting; did you mean BINANCE_USER_…_API_KEY?",
        ),
    ],
)
def test_bad_files_name_the_file_and_what_is_wrong(tmp_path: Path, file: str, text: str, expected: str) -> None:
    """A mistake in a file is reported and not ignored."""
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path)
    assert expected in str(raised.value)
    assert file in str(raised.value)
    assert "zzz" not in str(raised.value)


def test_only_what_looks_like_a_setting_is_called_misspelt() -> None:
    """Variables of orchestrators and other programs in the same environment are not reported."""
    mistakes = {
        "NIJA_MASTER_POLL_SECOND": "NIJA_MASTER_POLL_SECONDS",
        "NIJA_RECONCILE_REPIAR": "NIJA_RECONCILE_REPAIR",
        "KRAKEN_API_SECRET": "KRAKEN_MASTER_API_SECRET",
        "ALPACA_BASEURL": "ALPACA_BASE_URL",
        "KRAKEN_USER_TWO_APISECRET": "KRAKEN_USER_TWO_API_SECRET",
        "KRAKEN_USER_TWO_KEY": "KRAKEN_USER_TWO_API_KEY",
        "OKX_USER_TWO_PASSWORD": "OKX_USER_TWO_PASSPHRASE",
        "DATABSE_URL": "DATABASE_URL",
        "DATABASE_URI": "DATABASE_URL",
        "REDISS_URL": "REDIS_URL",
        "REDIS_ULR": "REDIS_URL",
        "NIJAHOME": "NIJA_HOME",
    }
    others = [
        "NIJA_REDIS_SERVICE_HOST",
        "NIJA_FOLLOWER_API_KEY",
        "NIJA_API_TOKEN",
        "NIJA_HOME",
        "OKX_PORT",
        "KRAKEN_USER_ALICE_API_KEY",
        "COINBASE_BASE_URL",
        "DATABASE_URL",
        "DATABASE_URL_RO",
        "TEST_DATABASE_URL",
        "OKX_REDIS_URL",
        "REDIS_PORT",
        "PATH",
    ]
    assert misspelt_variables(dict.fromkeys([*mistakes, *others], "")) == mistakes


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """NIJA_ENV_FILE must name an existing file or be empty."""
    (tmp_path / ".env").write_text("NIJA_DRAIN_PLACES=7\n")
    with pytest.raises(ConfigurationError, match="NIJA_ENV_FILE names"):
        load(tmp_path, NIJA_ENV_FILE=str(tmp_path / "missing"))
    assert load(tmp_path, NIJA_ENV_FILE="").drain_places == 48


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Neither the settings nor their credentials print a secret, a password or a key."""
    key = Fernet.generate_key().decode()
    settings = load(tmp_path, **MASTER, NIJA_SECRET_KEY=key, REDIS_URL="redis://:hidden-password@host/0")
    shown = f"{settings!r} {settings} {settings.master_credentials(Broker.KRAKEN)!r}"
    for secret in (key, SECRET, "same-key", "hidden-password"):
        assert secret not in shown
        assert secret in {each.get_secret_value() for each in settings.secrets()}


def test_the_secret_key_may_come_from_the_data_folder(tmp_path: Path) -> None:
    """Without NIJA_SECRET_KEY, the file in NIJA_HOME is read. Without both, the error says how to make one."""
    settings = load(tmp_path, NIJA_HOME=str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"NIJA_SECRET_KEY is missing.*make one with"):
        _ = settings.secret_key
    key = Fernet.generate_key().decode()
    (tmp_path / "secret.key").write_text(key + "\n")
    assert settings.secret_key.get_secret_value() == key
    (tmp_path / "secret.key").write_text("zzz")
    with pytest.raises(ConfigurationError, match=r"secret\.key should be one or more Fernet keys"):
        _ = settings.secret_key


def test_an_operator_names_what_assets_of_a_master_are_worth(tmp_path: Path) -> None:
    """A value is in US dollars per unit, and an asset may be ignored. nija.toml may hold it, too, and children get it."""
    settings = load(tmp_path, KRAKEN_MASTER_VALUES="DOT28.S:4.5, xyz:ignore")
    named = {"DOT28.S": Decimal("4.5"), "XYZ": None}
    assert settings.master_values(Broker.KRAKEN) == named
    assert settings.master_values(Broker.OKX) == {}
    assert load_settings(settings.environment(), folder=tmp_path).master_values(Broker.KRAKEN) == named
    (tmp_path / "nija.toml").write_text('okx_master_values = ["ABC:1", "DEF:ignore"]\n')
    assert load(tmp_path).master_values(Broker.OKX) == {"ABC": Decimal(1), "DEF": None}


def test_child_processes_get_the_same_settings(tmp_path: Path) -> None:
    """`environment` contains every setting, whatever its source. The child reads nothing else."""
    (tmp_path / ".env").write_text("NIJA_DRAIN_PLACES=7\nNIJA_BROKERS=kraken,okx\n")
    settings = load_settings(
        {**MASTER, "NIJA_SECRET_KEY": Fernet.generate_key().decode()}, folder=tmp_path, home=tmp_path / "home"
    )
    again = load_settings(settings.environment(), folder=tmp_path)
    assert again == settings
    assert again.master_credentials(Broker.KRAKEN) == settings.master_credentials(Broker.KRAKEN)
    left = without_settings({**settings.environment(), "PATH": "/bin", "KRAKEN_USER_A_API_KEY": "x"})
    assert left == {"PATH": "/bin"}


def test_an_empty_variable_hides_what_a_file_says(tmp_path: Path) -> None:
    """An empty variable means "not set", also for a variable of one broker. The default is used, not the file."""
    (tmp_path / ".env").write_text("NIJA_DRAIN_PLACES=7\nKRAKEN_BASE_URL=http://dotenv\n")
    settings = load(tmp_path, NIJA_DRAIN_PLACES="", KRAKEN_BASE_URL="")
    assert settings.drain_places == 48
    assert settings.base_url(Broker.KRAKEN) is None


def test_toml_values_mean_what_their_text_means_in_the_environment(tmp_path: Path) -> None:
    """A list contains names, numbers and booleans are checked like text, and a boolean is not a number."""
    (tmp_path / "nija.toml").write_text("brokers = ['okx', 'kraken']\nrate_limits = false\nclaim_seconds = 2.5\n")
    settings = load(tmp_path)
    assert settings.brokers == (Broker.OKX, Broker.KRAKEN)
    assert settings.rate_limits is False
    assert settings.claim_seconds == 2.5
    (tmp_path / "nija.toml").write_text("worker_children = true\n")
    with pytest.raises(ConfigurationError, match="NIJA_WORKER_CHILDREN=True is not valid"):
        load(tmp_path)


def test_a_dotenv_file_is_taken_literally(tmp_path: Path) -> None:
    """`${…}` in a password is a part of the password."""
    (tmp_path / ".env").write_text("REDIS_URL=redis://:a${HOME}b@host/0\n")
    assert load(tmp_path).redis_url == "redis://:a${HOME}b@host/0"


def test_settings_made_directly_read_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load_settings` reads the environment and the working folder."""
    (tmp_path / ".env").write_text("NIJA_DRAIN_PLACES=7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIJA_DELIVER_BATCH", "7")
    assert (Settings().drain_places, Settings().deliver_batch) == (48, 500)
    assert (load_settings().drain_places, load_settings().deliver_batch) == (7, 7)


def test_the_library_does_not_log_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PYDANTIC_SETTINGS_DEBUG would log every secret in clear, so it has no effect."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    caplog.set_level("DEBUG")
    load(tmp_path, NIJA_SECRET_KEY=Fernet.generate_key().decode())
    assert caplog.text == ""
