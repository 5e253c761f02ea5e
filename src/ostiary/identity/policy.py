"""Policy: which addresses may have an account here."""

from __future__ import annotations

from ostiary.identity.context import Context


def domain_of(email: str) -> str:
    """What follows the last `@`, lower-case, international labels in their ASCII form."""
    domain = email.rpartition("@")[2].strip().lower()
    if domain.isascii():
        return domain
    try:
        written = domain.encode("idna")
        # Python's IDNA of 2003 writes `faß.example` as `fass.example`, which is somebody else's name today (RFC 5891).
        return written.decode("ascii") if written.decode("idna") == domain else domain
    except UnicodeError:
        return domain


def allows_domain(ctx: Context, email: str) -> bool:
    """Whether addresses of this domain may register: exactly a listed one, or any when none is listed."""
    allowed = ctx.settings.policy.allowed_domains
    return not allowed or domain_of(email) in {domain_of(f"@{entry}") for entry in allowed}
