"""All tables. Times are integers (microseconds, UTC), ids are UUID texts, in both engines."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={"ix": "%(table_name)s_%(column_0_N_name)s", "uq": "%(table_name)s_%(column_0_N_name)s_key"},
)


def _id() -> Column[str]:
    return Column("id", Text, primary_key=True)


def _time(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=optional)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _text(name: str, *, optional: bool = False) -> Column[str]:
    return Column(name, Text, nullable=optional)


def _account(*, optional: bool = False, unique: bool = False, is_indexed: bool = True) -> Column[str]:
    return Column(
        "account_id",
        Text,
        ForeignKey("accounts.id", ondelete="CASCADE"),
        nullable=optional,
        unique=unique,
        index=is_indexed and not unique,
    )


def _index_where(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    # Noted, and not given as the dialects' own option: that would load PostgreSQL's dialect for whoever runs SQLite. The
    # migrations make it.
    return Index(name, *columns, unique=unique, info={"where": where})


accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("email", Text, nullable=False, unique=True),
    _text("name"),
    _text("username", optional=True),
    _text("avatar", optional=True),
    _text("role"),
    _text("provider"),
    # Raised when every session must end: a session of an older epoch is dead, wherever it was opened.
    _count("epoch"),
    _time("verified_at", optional=True),
    _time("terms_accepted_at", optional=True),
    _text("terms_version", optional=True),
    _time("created_at"),
    _time("updated_at"),
    # An unverified account goes at this moment.
    _time("expires_at", optional=True),
    Index("accounts_expires_at", "expires_at"),
)

credentials = Table(
    "credentials",
    metadata,
    _id(),
    _account(),
    _text("kind"),
    # Who they are to the issuer (`federated`); the other kinds are found by the account's address.
    _text("identifier", optional=True),
    Column("config", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default="1"),
    _time("created_at"),
    _time("last_used_at", optional=True),
    UniqueConstraint("kind", "identifier"),
)

factors = Table(
    "factors",
    metadata,
    _id(),
    _account(),
    _text("kind"),
    # A backup code's digest; a TOTP enrolment has none.
    Column("identifier", LargeBinary, nullable=True),
    # Sealed.
    Column("config", LargeBinary, nullable=True),
    Column("version", BigInteger, nullable=False, server_default="1"),
    # TOTP: the last time step that was accepted.
    _count("last_step"),
    # TOTP: failed answers in a row.
    _count("failures"),
    _time("created_at"),
    _time("confirmed_at", optional=True),
    _time("last_used_at", optional=True),
    _time("used_at", optional=True),
    UniqueConstraint("account_id", "kind", "identifier"),
)

challenges = Table(
    "challenges",
    metadata,
    _id(),
    _account(),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _text("kind"),
    _text("amr"),
    Column("epoch", BigInteger, nullable=False),
    _count("failures"),
    # What the session will need: JSON.
    _text("config"),
    _time("created_at"),
    _time("expires_at"),
    Index("challenges_expires_at", "expires_at"),
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    _account(is_indexed=False),
    # `browser` (access and refresh tokens) or `key` (one opaque key).
    _text("kind"),
    # `key`: the digest of the key; `browser`: of what the browser shows our pages, if it ever signed in for them.
    Column("token_hash", LargeBinary, nullable=True, unique=True),
    _text("amr"),
    Column("epoch", BigInteger, nullable=False),
    # The refresh family: how often it was rotated, and when lately (JSON, newest first).
    _count("generation"),
    _text("rotations"),
    # `key`: the handshake epoch of the sign-in.
    Column("handshake_epoch", BigInteger, nullable=True),
    # `browser`: the last TOTP step accepted in this session (one code may serve sign-in and step-up).
    _count("last_step"),
    _text("address"),
    _text("user_agent"),
    _time("created_at"),
    _time("proved_at"),
    _time("last_used_at"),
    _time("expires_at"),
    _time("revoked_at", optional=True),
    # Each sign-in counts the account's live sessions: so they stand together, without those that have ended.
    Index("sessions_of_account", "account_id", "epoch", "revoked_at", "created_at"),
)

places = Table(
    "places",
    metadata,
    # Where an account has signed in: digests of its household's network and of the client's name for itself.
    Column("account_id", Text, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("household", LargeBinary, primary_key=True),
    Column("client", LargeBinary, primary_key=True),
    _time("seen_at"),
    Index("places_seen_at", "seen_at"),
)

links = Table(
    "links",
    metadata,
    _id(),
    _account(optional=True),
    # `verification`, `reset`, `invitation`, `email_change`, `end_session`.
    _text("purpose"),
    Column("token_hash", LargeBinary, nullable=False),
    _text("email"),
    _text("config"),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", optional=True),
    UniqueConstraint("purpose", "token_hash"),
    Index("links_expires_at", "expires_at"),
    Index("links_purpose_email", "purpose", "email"),
)

# What a provider shows of somebody, one each. Without a name it stands for a picture that could not be had.
pictures = Table(
    "pictures",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    # A digest of the provider's address of it.
    _text("source"),
    Column("name", Text, nullable=True, unique=True),
    _text("media_type", optional=True),
    Column("content", LargeBinary, nullable=True),
    _time("fetched_at"),
)

provider_sessions = Table(
    "provider_sessions",
    metadata,
    # A session's id; for a sign-in that owes a factor, the digest of its challenge. Not a foreign key for that reason.
    Column("holder", Text, primary_key=True),
    _account(),
    _text("provider"),
    _text("issuer"),
    _text("subject"),
    # The provider's name for its own session.
    _text("sid", optional=True),
    # The provider's tokens.
    Column("sealed", LargeBinary, nullable=False),
    _time("expires_at"),
    _time("created_at"),
    # When these tokens came.
    _count("renewed_at"),
    # When they are renewed without being asked for; NULL: never.
    _time("due_at", optional=True),
    # Somebody renews them until then: nobody else may.
    _count("claimed_until"),
    _count("attempts"),
    # When the provider said that it renews them no more.
    _time("dead_at", optional=True),
    Index("provider_sessions_expires_at", "expires_at"),
    Index("provider_sessions_due_at", "due_at"),
    Index("provider_sessions_provider_subject", "provider", "subject"),
)

bans = Table(
    "bans",
    metadata,
    _id(),
    # `account`, `address`, or `earned` (an address, by violations).
    _text("kind"),
    _text("subject"),
    _text("reason"),
    _time("created_at"),
    # NULL: for ever.
    _time("expires_at", optional=True),
    UniqueConstraint("kind", "subject"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    _text("kind"),
    # `queued`, `sending`, `sent`, `abandoned`.
    _text("status"),
    # Recipient and contents, sealed; emptied once sent.
    Column("sealed", LargeBinary, nullable=False),
    _count("attempts"),
    _text("last_error", optional=True),
    _time("created_at"),
    _time("due_at"),
    _time("sent_at", optional=True),
    Index("outbox_status_due_at", "status", "due_at"),
)

audit_events = Table(
    "audit_events",
    metadata,
    _id(),
    _time("at"),
    _text("event"),
    # Not a foreign key: the trace outlives the account.
    _text("account_id", optional=True),
    _text("reason", optional=True),
    _text("address"),
    _text("user_agent"),
    _text("request_id"),
    # The start of a known device's id.
    _text("device", optional=True),
    _text("detail"),
    # A keyed digest over all of the above; NULL in rows of before the chain.
    Column("seal", LargeBinary, nullable=True),
    # The row's place in the chain and its digest over seal and predecessor; NULL until it is linked.
    Column("position", BigInteger, nullable=True),
    Column("link", LargeBinary, nullable=True),
    Index("audit_events_at", "at"),
    Index("audit_events_account_id_at", "account_id", "at"),
    _index_where("audit_events_position", "position", where="position IS NOT NULL", unique=True),
    _index_where("audit_events_unlinked", "at", "id", where="position IS NULL"),
)

markers = Table(
    "markers",
    metadata,
    # Things that are one in the life of a deployment: the first administrator, the ends of the audit's chain.
    Column("name", Text, primary_key=True),
    _text("value"),
    _time("created_at"),
)

key_ring = Table(
    "key_ring",
    metadata,
    _id(),
    # What it is for: `sealing`, `access-tokens`, `refresh-tokens`, `handshake`.
    _text("purpose"),
    # The secret from the settings is number 0 and has no row.
    Column("number", BigInteger, nullable=False),
    # Sealed under the root key.
    Column("secret", LargeBinary, nullable=False),
    # Which secret of the settings it came after: a fingerprint.
    _text("base"),
    _time("created_at"),
    # When it takes over, and for how long the ones before it are good from then on.
    _time("active_from"),
    Column("overlap", BigInteger, nullable=False),
    # Sealing: when nothing was left under earlier keys.
    _time("finished_at", optional=True),
    UniqueConstraint("purpose", "number"),
)

ciphers = Table(
    "ciphers",
    metadata,
    Column("owner_id", Text, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("type", BigInteger, nullable=False),
    _text("protected_data"),
    _text("collection_id", optional=True),
    Column("favorite", BigInteger, nullable=False),
    Column("re_prompt", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("last_modified", BigInteger, nullable=False),
    _time("written_at"),
    Index("ciphers_owner_id_written_at", "owner_id", "written_at"),
)

collections = Table(
    "collections",
    metadata,
    Column("owner_id", Text, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    _text("name"),
    Column("created", BigInteger, nullable=False),
    Column("last_modified", BigInteger, nullable=False),
)
