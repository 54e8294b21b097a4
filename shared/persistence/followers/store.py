"""Reads and changes the followers in PostgreSQL, and records each change with its actor and reason.

A follower id is used once per broker and never again, because history, client order ids and copied positions depend
on it. So the id of a removed follower stays taken, also for its owner. A follower that comes back gets a new id.

All methods block, and raise DatabaseUnavailable when PostgreSQL does not answer. Then nothing was changed, or, if the
connection broke during the commit, everything. Repeat the call, or read, to find out which.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlalchemy import Engine, select, text
from sqlmodel import col

from shared.domain.accounts.credentials import Credentials, EnvironmentFollower, key_hash
from shared.domain.copying.follower import Follower, FollowerPolicy, FollowerStatus
from shared.domain.errors import problems_of
from shared.domain.identity import Broker, FollowerId
from shared.persistence.database import is_storable, transaction
from shared.persistence.errors import BadSecretKey, FollowerTaken, ImportRefused
from shared.persistence.followers import records, writes
from shared.persistence.followers.environment import JudgeKeys, Registration, judge_nothing, register
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.master_key_rows import rotate_master_keys
from shared.persistence.followers.records import FollowerChange, FollowerRecord, Source
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.writes import Announce, announce_nothing, joining
from shared.persistence.sequence import await_sequence
from shared.persistence.tables.operational import FollowerRow


class FollowerStore:
    """The followers of all brokers. Methods that read or write keys need `box`, and raise BadSecretKey without it."""

    def __init__(self, engine: Engine, box: SecretBox | None = None) -> None:
        self._engine = engine
        self._box = box

    # Readers

    def roster(self, broker: Broker) -> list[Follower]:
        """All followers of a broker that are not removed, by id, without keys. Reading 10,000 takes about 50 ms.

        The list contains every follower whose joining was announced before this call. A follower whose policy cannot
        be read has `policy_error` and does not affect the others.
        """
        with transaction(self._engine) as connection:
            await_sequence(connection, broker)
        with transaction(self._engine) as connection:
            rows = connection.execute(
                text(
                    "SELECT follower_id, status, status_changed_at, policy::text AS policy, joined_sequence FROM followers"
                    " WHERE broker = :broker AND status <> 'removed' ORDER BY follower_id"
                ),
                {"broker": broker.value},
            ).all()
        # Most followers share one policy, so each distinct text is read once.
        policies: dict[str, FollowerPolicy] = {}
        errors: dict[str, str] = {}
        for policy in {row.policy for row in rows}:
            try:
                policies[policy] = FollowerPolicy.model_validate_json(policy)
            except ValidationError as error:
                policies[policy] = FollowerPolicy()
                errors[policy] = f"its policy cannot be read: {problems_of(error, 'policy')}"
        return [
            Follower(
                broker=broker,
                follower_id=row.follower_id,
                status=FollowerStatus(row.status),
                status_changed_at=row.status_changed_at,
                policy=policies[row.policy],
                joined_sequence=row.joined_sequence,
                policy_error=errors.get(row.policy),
            )
            for row in rows
        ]

    def count_changes(self, broker: Broker) -> int:
        """A number that grows with every change of a broker's followers, whether or not it was announced."""
        with transaction(self._engine) as connection:
            counted = connection.scalar(
                text("SELECT coalesce(sum(revision), 0) FROM followers WHERE broker = :broker"),
                {"broker": broker.value},
            )
        return int(counted or 0)

    def credentials(self, broker: Broker, follower_ids: Collection[FollowerId]) -> dict[FollowerId, Credentials]:
        """The keys of these followers, read in one query. Removed and unknown followers are left out.

        Raises BadSecretKey when a key cannot be decrypted.
        """
        keys: dict[FollowerId, Credentials] = {}
        for follower_id, key in self.credentials_or_errors(broker, follower_ids).items():
            if isinstance(key, BadSecretKey):
                raise key
            keys[follower_id] = key
        return keys

    def credentials_or_errors(
        self, broker: Broker, follower_ids: Collection[FollowerId]
    ) -> dict[FollowerId, Credentials | BadSecretKey]:
        """Like `credentials`, but a key that cannot be decrypted is an error in the result, for its follower only."""
        box = self._need_box()
        with transaction(self._engine) as connection:
            rows = connection.execute(
                text(
                    "SELECT follower_id, sealed_credentials FROM followers"
                    " WHERE broker = :broker AND follower_id = ANY(:ids) AND sealed_credentials IS NOT NULL"
                ),
                {"broker": broker.value, "ids": list(follower_ids)},
            ).all()
        keys: dict[FollowerId, Credentials | BadSecretKey] = {}
        for row in rows:
            try:
                keys[row.follower_id] = box.open(broker, row.follower_id, row.sealed_credentials)
            except BadSecretKey as error:
                keys[row.follower_id] = error
        return keys

    def get(self, broker: Broker, follower_id: FollowerId) -> FollowerRecord:
        """The follower, without its keys. Raises UnknownFollower."""
        with transaction(self._engine) as connection:
            return records.read(connection, broker, follower_id)

    def named(self, follower_id: FollowerId, broker: Broker | None = None) -> Sequence[FollowerRecord]:
        """The followers of this id at one broker or at all, by broker, also the removed ones. No other row is read."""
        if not is_storable(follower_id):
            return ()
        with transaction(self._engine) as connection:
            return records.read_named(connection, follower_id, (broker,) if broker else tuple(Broker))

    def all(self, broker: Broker | None = None, *, removed: bool = False) -> Sequence[FollowerRecord]:
        """The followers of one broker or of all brokers, by broker and id. `removed`: with the removed ones."""
        with transaction(self._engine) as connection:
            return records.read_all(connection, broker, removed=removed)

    def changes(self, broker: Broker, follower_id: FollowerId, limit: int = 20) -> Sequence[FollowerChange]:
        """The newest changes of a follower with their actors and reasons, newest first."""
        with transaction(self._engine) as connection:
            return records.read_changes(connection, broker, follower_id, limit)

    # Changes

    def add(
        self,
        broker: Broker,
        follower_id: FollowerId,
        credentials: Credentials,
        *,
        withdraw_allowed: bool = False,
        identity: str | None = None,
        actor: str,
        reason: str = "",
        announce: Announce = announce_nothing,
    ) -> None:
        """Let a follower join from the next fill on.

        Raises FollowerTaken when the id, the key or the account is in use, and BadSecretKey.
        """
        try:
            row = NewFollower(broker, follower_id, credentials, withdraw_allowed=withdraw_allowed, identity=identity)
            self.import_rows([row], actor=actor, reason=reason, announce=announce)
        except ImportRefused as refused:
            raise FollowerTaken(next(iter(refused.problems.values()))) from None

    def taken(self, rows: Sequence[NewFollower]) -> dict[int, str]:
        """The problem of each row, by number, whose id, API key or account is in use. `import_rows` checks it again."""
        with transaction(self._engine) as connection:
            return records.taken(connection, rows)

    def import_rows(
        self, rows: Sequence[NewFollower], *, actor: str, reason: str = "", announce: Announce = announce_nothing
    ) -> None:
        """Let all these followers join, or none of them.

        Raises ImportRefused when ids or keys are in use, with the problem of each row. Raises BadSecretKey, too.
        """
        box = self._need_box()
        sealed = [box.seal(row.broker, row.follower_id, row.credentials) for row in rows]
        with joining(self._engine, {row.broker for row in rows}, announce) as connection:
            problems = records.taken(connection, rows)
            if problems:
                raise ImportRefused(problems)
            writes.insert_followers(
                connection,
                rows,
                sealed,
                source=Source.DATABASE,
                audit=writes.Audit(actor, reason, datetime.now(UTC)),
            )

    def set_status(
        self,
        broker: Broker,
        follower_id: FollowerId,
        status: FollowerStatus,
        *,
        unless: FollowerStatus | None = None,
        actor: str,
        reason: str = "",
        announce: Announce = announce_nothing,
    ) -> bool:
        """Set the status of a follower and return whether it changed. Raises UnknownFollower, FollowerGone.

        `unless`: a status in which nothing is changed. Then OtherStatus is raised.
        """
        if status is FollowerStatus.REMOVED:
            return self.remove(broker, follower_id, actor=actor, reason=reason, announce=announce)
        with transaction(self._engine) as connection:
            audit = writes.Audit(actor, reason, datetime.now(UTC))
            changed = writes.change_status(connection, broker, follower_id, status, audit, unless=unless)
        # This is announced even if nothing changed, because the announcement of an earlier try may have been lost.
        announce(broker)
        return changed

    def undo_disabled(
        self,
        broker: Broker,
        follower_id: FollowerId,
        *,
        disabled_by: str,
        reason: str,
        announce: Announce = announce_nothing,
    ) -> FollowerStatus | None:
        """Restore the status that a follower had before the actor `disabled_by` disabled it, and return that status.

        Returns None and changes nothing if the follower is not disabled, or if another actor disabled it. Raises
        UnknownFollower.
        """
        with transaction(self._engine) as connection:
            record = records.read(connection, broker, follower_id, for_update=True)
            last = records.last_status_change(connection, broker, follower_id)
            if record.status is not FollowerStatus.DISABLED or last is None or last.actor != disabled_by:
                return None
            before = FollowerStatus(last.before or FollowerStatus.ACTIVE)
            audit = writes.Audit(disabled_by, reason, datetime.now(UTC))
            writes.change_status(connection, broker, follower_id, before, audit)
        announce(broker)
        return before

    def replace_credentials(
        self,
        broker: Broker,
        follower_id: FollowerId,
        credentials: Credentials,
        *,
        withdraw_allowed: bool = False,
        identity: str | None = None,
        same_account: bool = False,
        actor: str,
        reason: str = "",
        announce: Announce = announce_nothing,
    ) -> None:
        """Replace the key of a follower. A disabled follower becomes active again.

        `identity`, `same_account`: as for `writes.change_credentials`. Raises FollowerTaken when another follower uses the
        key or has the account, or when the account is another one than before. Raises FollowerError when the follower's keys come from
        the environment. Raises UnknownFollower, FollowerGone and BadSecretKey, too.
        """
        sealed = self._need_box().seal(broker, follower_id, credentials)
        with transaction(self._engine) as connection:
            record = records.read(connection, broker, follower_id, for_update=True)
            records.require_source(record, Source.DATABASE)
            records.require_free_key(connection, broker, follower_id, credentials)
            if identity is not None and (problem := records.account_problem(connection, record, identity)):
                raise FollowerTaken(problem)
            writes.change_credentials(
                connection,
                record,
                sealed,
                key_hash(credentials.api_key),
                writes.Audit(actor, reason, datetime.now(UTC)),
                withdraw_allowed=withdraw_allowed,
                identity=identity,
                same_account=same_account,
            )
        announce(broker)

    def note_identity(self, broker: Broker, follower_id: FollowerId, identity: str, *, actor: str) -> str | None:
        """Store the broker's own id of a follower's account. Return the problem instead, if there is one.

        It is a problem when another follower or the master has the account, or when it is another one than before.
        Raises UnknownFollower.
        """
        with transaction(self._engine) as connection:
            record = records.read(connection, broker, follower_id, for_update=True)
            problem = records.account_problem(connection, record, identity)
            if problem is None and record.identity is None:
                writes.note_identity(connection, record, identity, writes.Audit(actor, "", datetime.now(UTC)))
        return problem

    def remove(
        self,
        broker: Broker,
        follower_id: FollowerId,
        *,
        actor: str,
        reason: str = "",
        announce: Announce = announce_nothing,
    ) -> bool:
        """Delete a follower's keys and stop serving it permanently. Its history stays, and its id stays taken.

        Raises UnknownFollower. Raises FollowerGone when it was already removed.
        """
        with transaction(self._engine) as connection:
            audit = writes.Audit(actor, reason, datetime.now(UTC))
            writes.remove(connection, broker, follower_id, audit)
        announce(broker)
        return True

    def register_environment(
        self,
        followers: Sequence[EnvironmentFollower],
        *,
        announce: Announce = announce_nothing,
        judge: JudgeKeys = judge_nothing,
    ) -> Registration:
        """Store the followers that the environment names. The rules are in `followers/environment.py`."""
        return register(self._engine, self._need_box(), followers, announce, judge)

    def rotate_secret_key(self) -> int:
        """Encrypt all keys, also of masters, with the first of NIJA_SECRET_KEY. Return the number. Raises BadSecretKey."""
        box = self._need_box()
        with transaction(self._engine) as connection:
            rows = connection.execute(
                select(col(FollowerRow.broker), col(FollowerRow.follower_id), col(FollowerRow.sealed_credentials))
                .where(col(FollowerRow.sealed_credentials).is_not(None))
                .with_for_update()
            ).all()
            if rows:
                connection.execute(
                    text(
                        "UPDATE followers SET sealed_credentials = :sealed, revision = revision + 1"
                        " WHERE broker = :broker AND follower_id = :follower_id"
                    ),
                    [
                        {"broker": broker, "follower_id": follower_id, "sealed": box.rotate(str(sealed))}
                        for broker, follower_id, sealed in rows
                    ],
                )
            return len(rows) + rotate_master_keys(connection, box)

    def _need_box(self) -> SecretBox:
        if self._box is None:
            return SecretBox(None)
        return self._box
