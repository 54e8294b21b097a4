"""Defines the errors between nija and its database, one class for each next step of the caller."""

from shared.domain.errors import HostUnknown, NijaError


class PersistenceError(NijaError):
    """The base class of all errors that shared.persistence raises on purpose."""


class DatabaseUnavailable(PersistenceError):
    """There is no connection, or it broke: wait and repeat the work.

    Nothing was committed, unless the connection broke during the commit.
    """


class BadDatabaseUrl(PersistenceError):
    """DATABASE_URL is not a URL that nija can use. The text says what would be right."""


class DatabaseUnusable(PersistenceError):
    """This database cannot be used in its present state. The text names DATABASE_URL and says what would be right."""


class DatabaseHostUnknown(DatabaseUnusable, HostUnknown):
    """The name of the PostgreSQL server cannot be resolved."""


class RefusedByDatabase(PersistenceError):
    """PostgreSQL will never accept these rows, for example because of a NUL character or a number out of range.

    Find the faulty row and move it to the dead letters.
    """


class EventsOutdated(PersistenceError):
    """Redis was restored after these events were read from it. Nothing was stored: drop them and read again."""


class SequenceBroken(PersistenceError):
    """A broker's fills are no longer numbered without gaps. Stop and report it."""


class BadSecretKey(PersistenceError):
    """NIJA_SECRET_KEY is missing or malformed, or it does not decrypt the stored keys."""


class FollowerError(PersistenceError):
    """A requested change of followers cannot be made. Nothing was changed."""


class FollowerTaken(FollowerError):
    """The follower id or the API key is already in use."""


class UnknownFollower(FollowerError):
    """There is no follower with this id at this broker."""


class AmbiguousFollower(FollowerError):
    """Several brokers have a follower of that id; the text names them."""


class FollowerGone(FollowerError):
    """The follower was removed: its keys are deleted and its history stays."""


class OtherStatus(FollowerError):
    """The follower has a status in which the change is not allowed."""


class ImportUnreadable(FollowerError):
    """An import file cannot be read at all. Nothing was imported."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"nothing was imported: {problem}")


class ImportRefused(FollowerError):
    """Some rows of an import file are faulty. Nothing was imported. `problems`: row number → what is wrong."""

    MOST_SHOWN = 100

    def __init__(self, problems: dict[int, str]) -> None:
        self.problems = dict(sorted(problems.items()))
        lines = [f"row {row}: {problem}" for row, problem in self.problems.items()]
        left_out = len(lines) - self.MOST_SHOWN
        more = [f"and {left_out} more faulty {'row' if left_out == 1 else 'rows'}"] if left_out > 0 else []
        super().__init__("\n".join(["nothing was imported", *lines[: self.MOST_SHOWN], *more]))


class SchemaOutdated(PersistenceError):
    """The schema of the database is not the one that this version of nija needs: it is older, newer or missing."""


class TokenTaken(PersistenceError):
    """Another token of the API that is in use has this name. Nothing was changed."""


class UnknownToken(PersistenceError):
    """No token of the API that is in use has this name or id. Nothing was changed."""
