"""LibrePass's wire: `/api/auth`, `/api/user`, the vault and `/actuator`. README.md describes the protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial

from starlette.responses import Response

from ostiary.dialects import own_sessions
from ostiary.dialects.librepass import actuator, auth, errors, schemas, user, vault
from ostiary.dialects.librepass import documents as doc
from ostiary.http.calls import Call
from ostiary.http.wire import Endpoint, Schema, Wire
from ostiary.identity import key_accounts, verification
from ostiary.identity.asks import Answer
from ostiary.identity.refusals import Refusal

_TEXT = {"type": "string"}
_EMAIL = {"email": _TEXT}
_LINK = {"user": {"type": "string", "format": "uuid"}, "code": _TEXT}


class LibrePass(Wire):
    """The routes, and how trouble sounds on this wire."""

    name = "librepass"

    def __init__(self) -> None:
        super().__init__()
        self._auth_routes()
        self._mail_routes()
        self._user_routes()
        self._session_routes()
        self._vault_routes()
        self._collection_routes()
        self._actuator_routes()

    @property
    def answers(self) -> Mapping[str, Answer]:
        return {
            "hint": key_accounts.answer_hint,
            "key_verification": partial(verification.answer, style=auth.VERIFICATION, template="key_verification"),
        }

    def answer(self, call: Call) -> Awaitable[Response]:
        """As every wire, and RATE_LIMIT_ENABLED=false switches this one's limits off."""
        call.is_limited = call.settings.limits.librepass_limits
        return super().answer(call)

    def refused(self, call: Call, refusal: Refusal) -> Response:
        return errors.answer(call, refusal)

    def malformed(self, call: Call) -> Response:  # noqa: ARG002 - the same everywhere
        return errors.error(errors.INVALID_BODY, 400, errors.UNREADABLE)

    def unavailable(self, call: Call, retry_after: int) -> Response:  # noqa: ARG002
        return errors.error(errors.DATABASE_ERROR, 503, "not available now", [(b"retry-after", b"%d" % retry_after)])

    def failed(self, call: Call) -> Response:  # noqa: ARG002
        return errors.error(errors.DATABASE_ERROR, 500, "unknown error")

    def not_found(self, call: Call) -> Response:  # noqa: ARG002
        return errors.error("LP-404", 404)

    def wrong_method(self, call: Call, allowed: str) -> Response:  # noqa: ARG002
        return errors.error(errors.INVALID_BODY, 405, "method not allowed", [(b"allow", allowed.encode())])

    def too_large(self, call: Call) -> Response:  # noqa: ARG002
        return errors.error(errors.INVALID_BODY, 413, "body too large", [(b"connection", b"close")])

    def turned_away(self, call: Call, status: int, text: str) -> Response:  # noqa: ARG002
        return errors.error(errors.INVALID_BODY, status, text, [(b"connection", b"close")])

    def _auth_routes(self) -> None:
        self.route(
            "POST",
            "/api/auth/register",
            auth.register,
            summary="Register a key account",
            body=doc.body_of(schemas.Registration),
            answers=doc.answers({201: doc.EMPTY}, 403, 415),
        )
        self.route(
            "GET",
            "/api/auth/preLogin",
            auth.pre_login,
            summary="How to derive the key, and the server's key",
            query=_EMAIL,
            answers=doc.answers({200: doc.PRE_LOGIN}),
        )
        self.route(
            "POST",
            "/api/auth/oauth",
            auth.oauth,
            summary="Sign in, or answer with a second factor's code",
            body=doc.body_of(schemas.Login, schemas.FactorAnswer),
            query={"grantType": {"enum": ["login", "2fa"]}},
            answers=doc.answers({200: doc.SIGNED_IN}, 401, 403, 404),
        )

    def _mail_routes(self) -> None:
        sent, moved = doc.answers({200: doc.EMPTY}, 403, 404), doc.answers({302: doc.MOVED}, 403, 404)
        self.route(
            "GET",
            "/api/auth/passwordHint",
            auth.password_hint,
            summary="Mail the password hint",
            query=_EMAIL,
            answers=sent,
            is_harmless=False,
        )
        self.route(
            "GET",
            "/api/auth/verifyEmail",
            auth.verify_email,
            summary="Verify an address (mail link)",
            query=_LINK,
            answers=moved,
            is_harmless=False,
            is_opened=True,
        )
        self.route(
            "GET",
            "/api/auth/resendVerificationEmail",
            auth.resend_verification_email,
            summary="Another verification mail",
            query=_EMAIL,
            answers=sent,
            is_harmless=False,
        )
        self.route(
            "GET",
            "/api/user/verifyNewEmail",
            user.verify_new_email,
            summary="Confirm another address (mail link)",
            query=_LINK,
            answers=moved,
            is_harmless=False,
            is_opened=True,
        )

    def _user_routes(self) -> None:
        self._owner_route("PATCH", "/api/user/email", user.change_email, "Change the address", schemas.EmailChange)
        self._owner_route("PATCH", "/api/user/password", user.change_password, "Change the password", schemas.PasswordChange)
        self._owner_route(
            "POST", "/api/user/setup/2fa", user.set_up_two_factor, "Set two-factor up", schemas.FactorSetUp, doc.RECOVERY
        )
        self._owner_route(
            "POST", "/api/user/disable/2fa", user.switch_two_factor_off, "Switch two-factor off", schemas.Confirmation
        )
        self._owner_route("DELETE", "/api/user/delete", user.delete, "Delete the account", schemas.Confirmation)

    def _owner_route(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        summary: str,
        shape: type,
        answer: Schema = doc.EMPTY,
    ) -> None:
        known = doc.answers({200: dict(answer)}, 401, 403, 415)
        self.route(method, path, endpoint, summary=summary, body=doc.body_of(shape), answers=known)

    def _session_routes(self) -> None:
        page = doc.answers({200: doc.PAGE}, 403)
        self.route(
            "GET",
            own_sessions.LIST_PATH,
            user.list_sessions,
            summary="List the owner's sessions",
            answers=doc.answers({200: doc.SESSIONS}, 401),
        )
        self.route(
            "DELETE",
            f"{own_sessions.LIST_PATH}/{{id}}",
            user.end_session,
            summary="End one of the owner's sessions",
            answers=doc.answers({200: doc.EMPTY}, 401, 404),
        )
        self.route(
            "GET",
            own_sessions.END_PATH,
            user.ask_end_session,
            summary="Ask whether to end all sessions (mail link)",
            query=_LINK,
            answers=page,
            is_opened=True,
        )
        self.route(
            "POST",
            own_sessions.END_PATH,
            user.end_session_by_link,
            summary="End all sessions of the mail link's account",
            query=_LINK,
            answers=page,
            is_opened=True,
        )

    def _vault_routes(self) -> None:
        body, written = doc.body_of(schemas.Cipher), doc.answers({201: doc.ID}, 401, 415)
        gone = doc.answers({200: doc.ID}, 401, 404)
        state = doc.answers({200: doc.STATE}, 401)
        self.route("PUT", "/api/cipher", vault.put_cipher, summary="Write a vault row", body=body, answers=written)
        self.route(
            "GET", "/api/cipher", vault.list_ciphers, summary="All vault rows", answers=doc.answers({200: doc.CIPHERS}, 401)
        )
        self.route(
            "GET",
            "/api/cipher/sync",
            vault.sync_by_query,
            summary="Rows written since",
            answers=state,
            query={"lastSync": {"type": "integer"}},
        )
        self.route(
            "POST",
            "/api/cipher/sync",
            vault.sync,
            summary="Write rows, and read those written since",
            body=doc.body_of(schemas.Sync),
            answers={**state, **doc.answers({}, 415)},
        )
        self.route(
            "GET", "/api/cipher/icon", vault.icon, summary="Never an icon", query={"domain": _TEXT}, answers=doc.answers({}, 404)
        )
        self.route(
            "GET", "/api/cipher/{id}", vault.get_cipher, summary="One vault row", answers=doc.answers({200: doc.CIPHER}, 401, 404)
        )
        self.route("PATCH", "/api/cipher/{id}", vault.put_cipher, summary="Write a vault row", body=body, answers=written)
        self.route("DELETE", "/api/cipher/{id}", vault.delete_cipher, summary="Delete a vault row", answers=gone)

    def _collection_routes(self) -> None:
        self.route(
            "PUT",
            "/api/collection",
            vault.put_collection,
            summary="Make or rename a collection",
            body=doc.body_of(schemas.NewCollection),
            answers=doc.answers({201: doc.ID}, 401, 415),
        )
        self.route(
            "GET",
            "/api/collection",
            vault.list_collections,
            summary="All collections",
            answers=doc.answers({200: doc.COLLECTIONS}, 401),
        )
        self.route(
            "GET",
            "/api/collection/{id}",
            vault.get_collection,
            summary="One collection",
            answers=doc.answers({200: doc.COLLECTION}, 401, 404),
        )
        self.route(
            "DELETE",
            "/api/collection/{id}",
            vault.delete_collection,
            summary="Delete a collection",
            answers=doc.answers({200: doc.ID}, 401, 404),
        )

    def _actuator_routes(self) -> None:
        self.route("GET", "/actuator/info", actuator.info, summary="What clients look for", answers={200: doc.ACTUATOR})
        self.route(
            "GET",
            "/actuator/health",
            actuator.health,
            summary="Whether it is ready to serve",
            answers={200: doc.ACTUATOR, 503: doc.ACTUATOR},
        )
