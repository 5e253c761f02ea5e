"""The tree of refusals: an understood "no", with a stable code and one sentence. The public wording is the dialects'.

`reason` is private (`unknown_account`, `mismatch`, …): it goes to the audit, and a dialect may be exact or uniform about it.
A refusal commits what its use case wrote: traces, counters, revocations (`context.begin`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ostiary.limits.store import Taken


class Refusal(Exception):  # noqa: N818 - a refusal is an outcome, not an error
    """The request is understood and declined."""

    code: ClassVar[str] = "refused"

    def __init__(self, reason: str = "") -> None:
        super().__init__(self.code if not reason else f"{self.code}: {reason}")
        self.reason = reason


class ProofRefused(Refusal):
    """The proof does not fit the identifier, or nobody has that identifier."""

    code = "proof_refused"


class FederationRefused(Refusal):
    """A sign-in elsewhere does not lead in here: not proved, not matched, or not allowed."""

    code = "federation_refused"

    def __init__(self, reason: str = "", claims: Iterable[str] = ()) -> None:
        """`claims` are the names of those that had arrived by then, for the audit."""
        super().__init__(reason)
        self.claims = tuple(claims)


class DirectoryRefused(ProofRefused):
    """The directory does not vouch for this name and password; `reason` says why, as far as it told."""

    code = "directory_refused"


class GroupRefused(FederationRefused):
    """The directory vouches for them, and they are in none of the groups that may sign in."""

    code = "group_refused"


class DirectoryUnavailable(Refusal):
    """The directory cannot be asked now: out of reach, too slow, or not set up for us."""

    code = "directory_unavailable"


class LastWayIn(Refusal):
    """Nothing else would let the owner in."""

    code = "last_way_in"


class MethodClosed(Refusal):
    """This way in is switched off."""

    code = "method_closed"


class AddressUnverified(Refusal):
    """The proof is right; the address must be verified first."""

    code = "address_unverified"


class Banned(Refusal):
    """Shut out by decision, until then (microseconds) or for good."""

    code = "banned"

    def __init__(self, reason: str = "", until: int | None = None) -> None:
        super().__init__(reason)
        self.until = until


class Throttled(Refusal):
    """Too many tries within a named limit."""

    code = "throttled"

    def __init__(self, taken: Taken) -> None:
        super().__init__(taken.rule.name)
        self.taken = taken


class LockedOut(Throttled):
    """Too many failed proofs for one account from devices that it does not know."""

    code = "locked_out"


class Busy(Refusal):
    """More is waiting for a hash, or for a directory, than can be done in time. `retry_after` is in seconds."""

    code = "busy"

    def __init__(self, reason: str = "", retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class CodeRefused(Refusal):
    """The second factor's code is wrong, spent, or too old."""

    code = "code_refused"


class CodeMissing(Refusal):
    """This needs a second factor's code, and none was given."""

    code = "code_missing"


class FactorLocked(Refusal):
    """So many wrong codes in a row that the factor takes no more."""

    code = "factor_locked"


class FactorAbsent(Refusal):
    """There is no such enrolment."""

    code = "factor_absent"


class FactorUnreadable(Refusal):
    """The stored secret cannot be opened: another key, or changed rows."""

    code = "factor_unreadable"


class SecretWeak(Refusal):
    """The secret offered for a factor is too short."""

    code = "secret_weak"


class ChallengeGone(Refusal):
    """The pending sign-in is unknown, answered, expired, or ended by an event."""

    code = "challenge_gone"


class SessionGone(Refusal):
    """The session is unknown, ended, or expired."""

    code = "session_gone"


class RefreshReused(SessionGone):
    """A spent refresh token came back after its grace: the family has been ended."""

    code = "refresh_reused"


class RegistrationClosed(Refusal):
    """Registration is switched off and no invitation opens it."""

    code = "registration_closed"


class InvitationRefused(Refusal):
    """The invitation is unknown, spent, expired, or for another address."""

    code = "invitation_refused"


class DomainRefused(Refusal):
    """Addresses of that domain may not register."""

    code = "domain_refused"


class AddressTaken(Refusal):
    """Someone has that address, and the caller may know it."""

    code = "address_taken"


class AddressInvalid(Refusal):
    """Not an address that can get mail."""

    code = "address_invalid"


class KeyRefused(Refusal):
    """The public key is malformed, low-order, or its holder did not prove to hold it."""

    code = "key_refused"


class ParametersRefused(Refusal):
    """Key derivation parameters outside the accepted range."""

    code = "parameters_refused"


class PasswordRefused(Refusal):
    """The new password breaks a rule; `advice` is what would make it better, in plain words, if anything."""

    code = "password_refused"

    def __init__(self, reason: str = "", advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


class ResetClosed(Refusal):
    """Password reset is switched off."""

    code = "reset_closed"


class LinkRefused(Refusal):
    """The link or code is unknown, spent, or expired."""

    code = "link_refused"


class DeletionClosed(Refusal):
    """Owners may not delete accounts here."""

    code = "deletion_closed"


class AccountGone(Refusal):
    """No such account."""

    code = "account_gone"


class RowsMismatched(Refusal):
    """The re-encrypted rows are not exactly the rows that the account has."""

    code = "rows_mismatched"


class RowRefused(Refusal):
    """A vault row breaks a rule of form."""

    code = "row_refused"


class RowLimitReached(Refusal):
    """The account has as many vault rows as it may have."""

    code = "row_limit_reached"


class RowGone(Refusal):
    """No such vault row of this account."""

    code = "row_gone"


class CollectionGone(Refusal):
    """No such collection of this account."""

    code = "collection_gone"


class CollectionRefused(Refusal):
    """The collection's name breaks a rule of form."""

    code = "collection_refused"
