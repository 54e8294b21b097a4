"""Keeps the keys of the accounts that a worker served lately, and reads the missing ones from PostgreSQL.

No account waits for the key of another one. The keys of followers that are not known yet are read with one query. The
key of a master account is read by itself, each time, because the version of the follower list does not say when it
changes. If PostgreSQL does not answer, the key known last is used for a master account, if the trader still trades with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import FollowerId, master_of_mailbox
from shared.persistence.errors import BadSecretKey, DatabaseUnavailable

ANSWER_SECONDS: Final = 2.0
"""How long an account waits for PostgreSQL to return its key."""

LoadCredentials = Callable[[Sequence[FollowerId]], Mapping[FollowerId, Credentials | BadSecretKey]]
"""Return the key of each mailbox's account, or the error if it does not open. Accounts without a key are left out.

Blocks."""

IsLent = Callable[[FollowerId, Credentials], Awaitable[bool]]
"""Whether the strategy still trades the account of a mailbox with this key."""

Key = Credentials | BadSecretKey | None
"""A key, the error if it does not open, or None if the account has no key."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Reading:
    task: asyncio.Task[Mapping[FollowerId, Credentials | BadSecretKey]]
    ends_at: float
    """When an account stops waiting for it, by the clock of the event loop. The query itself goes on."""


class KeyRing:
    """The keys of one broker's accounts. The keys of followers are forgotten when the follower list changes."""

    def __init__(self, load: LoadCredentials, is_lent: IsLent, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._load = load
        self._is_lent = is_lent
        self._answer_seconds = answer_seconds
        self._version = -1
        self._known: dict[FollowerId, Key] = {}
        self._masters: dict[FollowerId, Key] = {}
        self._readings: dict[FollowerId, _Reading] = {}

    def prepare(self, version: int, names: Iterable[FollowerId]) -> None:
        """Begin to read the keys of these mailboxes as far as needed, and return at once."""
        if version != self._version:
            self._known.clear()
            self._readings.clear()
            self._version = version
        missing = [each for each in names if each not in self._known and each not in self._readings]
        followers = [each for each in missing if master_of_mailbox(each) is None]
        masters = [[each] for each in missing if master_of_mailbox(each) is not None]
        for group in ([followers] if followers else []) + masters:
            task = asyncio.create_task(self._read(version, group))
            # An error is also read when no account waits for it any more. Otherwise, asyncio logs it as lost.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            reading = _Reading(task, asyncio.get_running_loop().time() + self._answer_seconds)
            self._readings.update(dict.fromkeys(group, reading))

    async def key(self, name: FollowerId) -> Key:
        """The key of a prepared mailbox. Raises DatabaseUnavailable, the other errors of the store, and RedisError."""
        reading = self._readings.get(name)
        if reading is None:
            if name in self._known:
                return self._known[name]
            # Not None: that would mean that the account has no key, and its orders would be skipped.
            return await self._known_last(name, "the reading has ended; the key has to be read again")
        try:
            # Shielded: one account that stops waiting ends the query of no other one.
            async with asyncio.timeout_at(reading.ends_at):
                return (await asyncio.shield(reading.task)).get(name)
        except (DatabaseUnavailable, TimeoutError) as error:
            why = str(error) or f"PostgreSQL has not returned the key after {self._answer_seconds:.0f} s"
            return await self._known_last(name, why)

    async def _known_last(self, name: FollowerId, why: str) -> Credentials:
        """The key of a master account from an earlier reading. Raises DatabaseUnavailable without a usable one."""
        known = self._masters.get(name)
        # An earlier key may open another account, in which no order of the strategy may be sent.
        if not isinstance(known, Credentials) or not await self._is_lent(name, known):
            raise DatabaseUnavailable(why)
        log.warning("the key of a master account was not read; the one known last is used", of=name, error=why)
        return known

    async def _read(self, version: int, names: Sequence[FollowerId]) -> Mapping[FollowerId, Credentials | BadSecretKey]:
        try:
            loaded = await asyncio.to_thread(self._load, names)
            for name in names:
                if master_of_mailbox(name) is not None:
                    self._masters[name] = loaded.get(name)
                elif version == self._version:
                    self._known[name] = loaded.get(name)
            return loaded
        finally:
            this = asyncio.current_task()
            for name in names:
                if name in self._readings and self._readings[name].task is this:
                    del self._readings[name]
