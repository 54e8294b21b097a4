"""Prepares a child process between fork and exec: it ends with its parent, and gives up root where it must.

PostgreSQL refuses to run as root, and nija often runs as root (in containers). The usual solutions change the machine.
They need a new system user, and read permission for all users on each folder above the data, including private ones.

Here the child becomes `nobody`, but keeps one capability with which it can pass closed folders. The data folder stays
0700, and nothing on the machine is changed. Some sandboxes do not allow a child to keep a capability. Then it becomes
plain `nobody`, and the error names a folder that it cannot pass.

Linux only. On other systems the child is not tied to its parent, and the account cannot be changed.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.local_system.errors import LocalSystemError

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2

# Loaded before any fork: the child of a threaded process can do little more than system calls.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class UserAccount:
    """The account of a child whose parent is root. `capability` lets it pass closed folders, if possible."""

    user_id: int
    group_id: int
    capability: int | None


def _prctl(option: int, *arguments: int) -> None:
    if _LIBC is None:
        return
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if _LIBC.prctl(option, *padded) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _become(account: UserAccount) -> None:
    if account.capability is not None:
        # A change of account must keep capabilities, and access(2) must respect them, because PostgreSQL checks its
        # files with it.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(account.group_id)
    os.setuid(account.user_id)
    if account.capability is None or _LIBC is None:
        return
    mask = 1 << account.capability
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    # Two triples (effective, permitted, inheritable), for the lower and the upper 32 capabilities.
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if _LIBC.capset(header, sets) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, account.capability)


def child_setup(death_signal: signal.Signals, account: UserAccount | None = None) -> Callable[[], None]:
    """Return a `preexec_fn`: run as `account`, and get `death_signal` when the starting thread's process ends."""
    parent = os.getpid()

    def setup() -> None:
        if account is not None:
            _become(account)
        # After the change of account, which clears this setting.
        _prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return setup


def account_for(command: Sequence[str]) -> UserAccount | None:
    """Return an account that can run the trial `command`. None means that the present account can (it is not root).

    Raises LocalSystemError that names the obstacle.
    """
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise LocalSystemError(
            "PostgreSQL does not run as root, and this machine has no account `nobody` to run it as: "
            "run nija as an ordinary user, or set DATABASE_URL to a PostgreSQL server"
        ) from None
    program = Path(command[0])
    failures = []
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE, None):
        account = UserAccount(nobody.pw_uid, nobody.pw_gid, capability)
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                preexec_fn=child_setup(signal.SIGKILL, account),
                cwd="/",
                timeout=30,
            )
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(str(error))
        else:
            return account
    closed = next((folder for folder in reversed(program.parents) if not folder.stat().st_mode & 0o001), None)
    remedy = f"`chmod o+x {closed}`" if closed else failures[-1]
    raise LocalSystemError(
        f"PostgreSQL does not run as root, and the account `nobody` cannot run {program}: "
        f"{remedy}, or run nija as an ordinary user, or set DATABASE_URL to a PostgreSQL server"
    )
