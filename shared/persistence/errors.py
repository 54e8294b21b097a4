"""What can go wrong between nija and its database, as classes by what the caller does next."""

from shared.domain.errors import HostUnknown, NijaError


class PersistenceError(NijaError):
    """Root of all that shared.persistence raises on purpose."""


class DatabaseUnavailable(PersistenceError):
    """No connection, or it broke: nothing was committed as far as anybody knows. Wait and do it again."""


class BadDatabaseUrl(PersistenceError):
    """DATABASE_URL is not one that nija can use; the text says what would be right."""


class DatabaseUnusable(PersistenceError):
    """This database cannot be used as it is; the text names DATABASE_URL and says what would be right."""


class DatabaseHostUnknown(DatabaseUnusable, HostUnknown):
    """The name of the PostgreSQL server cannot be resolved."""


class RefusedByDatabase(PersistenceError):
    """PostgreSQL will never take these rows (a NUL character, a number out of range): find the one and keep it aside."""


class EventsOutdated(PersistenceError):
    """Redis was restored after these events were read from it; nothing was stored. Leave them, and read again."""


class SequenceBroken(PersistenceError):
    """The gap-free numbering of a broker's fills does not hold any more. Stop and report."""


class BadSecretKey(PersistenceError):
    """NIJA_SECRET_KEY is missing, malformed, or not the one that the stored keys were encrypted with."""


class FollowerError(PersistenceError):
    """A change of followers that cannot be made as asked; nothing was changed."""


class FollowerTaken(FollowerError):
    """The follower id, or the API key, is in use already."""


class UnknownFollower(FollowerError):
    """There is no follower of that id at that broker."""


class FollowerGone(FollowerError):
    """The follower was removed; its keys are wiped and its history stays."""


class ImportUnreadable(FollowerError):
    """An import file that cannot be read as a whole; nothing of it was taken over."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"nothing was imported: {problem}")


class ImportRefused(FollowerError):
    """An import file with faults; nothing of it was taken over. `problems`: row number → what is wrong."""

    MOST_SHOWN = 100

    def __init__(self, problems: dict[int, str]) -> None:
        self.problems = dict(sorted(problems.items()))
        lines = [f"row {row}: {problem}" for row, problem in self.problems.items()]
        left_out = len(lines) - self.MOST_SHOWN
        more = [f"and {left_out} more faulty {'row' if left_out == 1 else 'rows'}"] if left_out > 0 else []
        super().__init__("\n".join(["nothing was imported", *lines[: self.MOST_SHOWN], *more]))


class SchemaOutdated(PersistenceError):
    """The database's schema is not the one that this version of nija needs: older, newer, or none."""
