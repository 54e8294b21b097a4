"""Who follows: changes that an operator asks for in, the followers table and its audit out; readers beside.

A follower id is given once per broker and for ever: history, client order ids and copied positions hang on it.
So a removed id stays taken, also for its owner; who comes back gets a new id.

All methods block. All raise DatabaseUnavailable when PostgreSQL is away; nothing was changed then, or (when the
connection broke during the commit) all of it, and asking again tells which.
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
from shared.persistence.database import transaction
from shared.persistence.errors import BadSecretKey, FollowerTaken, ImportRefused
from shared.persistence.followers import records, writes
from shared.persistence.followers.environment import Registration, register
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.records import FollowerChange, FollowerRecord, Source
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.writes import Announce, joining, nobody_to_tell
from shared.persistence.sequence import await_sequence
from shared.persistence.tables.operational import FollowerRow


class FollowerStore:
    """The followers of all brokers. `box` is needed by whatever reads or writes keys."""

    def __init__(self, engine: Engine, box: SecretBox | None = None) -> None:
        self._engine = engine
        self._box = box

    # Readers

    def roster(self, broker: Broker) -> list[Follower]:
        """All followers of a broker that are not removed, by id, without keys: 10,000 in some 50 ms.

        One whose policy cannot be read is there with `policy_error`: it must not take the others along. With all
        whose joining was announced before this call.
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
        """The keys of these followers, in one query; removed and unknown ones are left out.

        Raises BadSecretKey when one of them does not open.
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
        """The same, with the error in the place of a key that does not open: it concerns its follower only."""
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
        """Raises UnknownFollower."""
        with transaction(self._engine) as connection:
            return records.read(connection, broker, follower_id)

    def all(self, broker: Broker | None = None, *, removed: bool = False) -> Sequence[FollowerRecord]:
        """The followers of one broker or of all, by broker and id."""
        with transaction(self._engine) as connection:
            return records.read_all(connection, broker, removed=removed)

    def changes(self, broker: Broker, follower_id: FollowerId, limit: int = 20) -> Sequence[FollowerChange]:
        """Who changed what of a follower, newest first."""
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
        actor: str,
        reason: str = "",
        announce: Announce = nobody_to_tell,
    ) -> None:
        """Let a follower join from the next fill on. Raises FollowerTaken (the id or the key), BadSecretKey."""
        try:
            row = NewFollower(broker, follower_id, credentials, withdraw_allowed=withdraw_allowed)
            self.import_rows([row], actor=actor, reason=reason, announce=announce)
        except ImportRefused as refused:
            raise FollowerTaken(next(iter(refused.problems.values()))) from None

    def taken(self, rows: Sequence[NewFollower]) -> dict[int, str]:
        """Say for each row (by its number) whose id or key is in use; `import_rows` looks again."""
        with transaction(self._engine) as connection:
            return records.taken(connection, rows)

    def import_rows(
        self, rows: Sequence[NewFollower], *, actor: str, reason: str = "", announce: Announce = nobody_to_tell
    ) -> None:
        """Let all these followers join, or none. Raises ImportRefused (row → what is taken), BadSecretKey."""
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
        actor: str,
        reason: str = "",
        announce: Announce = nobody_to_tell,
    ) -> bool:
        """Pause, resume or disable; return whether anything changed. Raises UnknownFollower, FollowerGone."""
        if status is FollowerStatus.REMOVED:
            return self.remove(broker, follower_id, actor=actor, reason=reason, announce=announce)
        with transaction(self._engine) as connection:
            audit = writes.Audit(actor, reason, datetime.now(UTC))
            changed = writes.change_status(connection, broker, follower_id, status, audit)
        # Also when nothing changed: the announcement of an earlier try may have been lost.
        announce(broker)
        return changed

    def undo_disabled(
        self,
        broker: Broker,
        follower_id: FollowerId,
        *,
        disabled_by: str,
        reason: str,
        announce: Announce = nobody_to_tell,
    ) -> FollowerStatus | None:
        """Give a follower back the status that it had before this actor disabled it; return that status.

        None: it is not disabled, or somebody else disabled it, and nothing was changed. Raises UnknownFollower.
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
        actor: str,
        reason: str = "",
        announce: Announce = nobody_to_tell,
    ) -> None:
        """Give a follower another key; a disabled one is active again.

        Raises UnknownFollower, FollowerGone, FollowerTaken (the key is another follower's), FollowerError (its keys
        come from the environment), BadSecretKey.
        """
        sealed = self._need_box().seal(broker, follower_id, credentials)
        with transaction(self._engine) as connection:
            record = records.read(connection, broker, follower_id, for_update=True)
            records.require_source(record, Source.DATABASE)
            records.require_free_key(connection, broker, follower_id, credentials)
            audit = writes.Audit(actor, reason, datetime.now(UTC))
            writes.change_credentials(
                connection, record, sealed, key_hash(credentials.api_key), audit, withdraw_allowed=withdraw_allowed
            )
        announce(broker)

    def remove(
        self,
        broker: Broker,
        follower_id: FollowerId,
        *,
        actor: str,
        reason: str = "",
        announce: Announce = nobody_to_tell,
    ) -> bool:
        """Wipe a follower's keys and never serve it again; its history stays and its id stays taken.

        Raises UnknownFollower, FollowerGone (it was removed before).
        """
        with transaction(self._engine) as connection:
            audit = writes.Audit(actor, reason, datetime.now(UTC))
            writes.remove(connection, broker, follower_id, audit)
        announce(broker)
        return True

    def register_environment(
        self, followers: Sequence[EnvironmentFollower], *, announce: Announce = nobody_to_tell
    ) -> Registration:
        """Make the environment's followers known: `register` in environment_followers tells the rules."""
        return register(self._engine, self._need_box(), followers, announce)

    def rotate_secret_key(self) -> int:
        """Encrypt all keys again with the first key of NIJA_SECRET_KEY; return how many. Raises BadSecretKey."""
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
        return len(rows)

    def _need_box(self) -> SecretBox:
        if self._box is None:
            return SecretBox(None)
        return self._box
