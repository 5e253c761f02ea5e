"""What the storage tells its callers when the database does not answer."""


class UnavailableError(Exception):
    """The database cannot answer now; nothing of this unit was kept. Trying again may work."""

    retry_after = 2


class UnstorableError(Exception):
    """A value that this engine cannot hold (NUL in text, a lone surrogate, a number too large): the caller's input is bad."""


class ForeignTablesError(Exception):
    """The database's tables are not known to this version: a newer one made them, or another program did."""
