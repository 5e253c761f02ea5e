"""LibreChat's wire: `/api/auth`, `/api/user` and what its sign-in screens read. README.md describes the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from starlette.responses import Response

from ostiary.dialects import own_sessions
from ostiary.dialects.librechat import (
    admin,
    auth,
    config,
    errors,
    federated_sessions,
    identities,
    oauth,
    pictures,
    recovery,
    saml,
    two_factor,
    user,
)
from ostiary.dialects.librechat import documents as doc
from ostiary.http.calls import Call, json_response, text_response
from ostiary.http.wire import Wire
from ostiary.identity import recovery as core_recovery
from ostiary.identity import verification
from ostiary.identity.asks import Answer
from ostiary.identity.pictures import PATH
from ostiary.identity.refusals import Refusal


class LibreChat(Wire):
    """The routes, and how trouble sounds on this wire."""

    name = "librechat"

    def __init__(self, openid_names: tuple[str, ...] = ()) -> None:
        """`openid_names` are the OpenID providers beside the one that the original knows."""
        super().__init__()
        self._providers = (*oauth.PROVIDERS, *openid_names)
        self._auth_routes()
        self._factor_routes()
        self._user_routes()
        self._session_routes()
        self._screen_routes()
        self._federated_routes()

    @property
    def answers(self) -> Mapping[str, Answer]:
        return {
            "reset": core_recovery.answer,
            "verification": partial(verification.answer, style=verification.STYLE, template="verification"),
        }

    def refused(self, call: Call, refusal: Refusal) -> Response:
        return errors.answer(call, refusal)

    def malformed(self, call: Call) -> Response:  # noqa: ARG002 - the same everywhere
        return json_response({"error": "Invalid JSON format", "message": "The request body contains malformed JSON"}, 400)

    def unavailable(self, call: Call, retry_after: int) -> Response:  # noqa: ARG002
        return json_response({"message": "Service temporarily unavailable"}, 503, [(b"retry-after", b"%d" % retry_after)])

    def failed(self, call: Call) -> Response:  # noqa: ARG002
        return text_response("An unknown error occurred.", 500)

    def not_found(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"message": "Endpoint not found"}, 404)

    def wrong_method(self, call: Call, allowed: str) -> Response:  # noqa: ARG002
        return json_response({"message": "Method not allowed"}, 405, [(b"allow", allowed.encode())])

    def too_large(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"message": "Request entity too large"}, 413, [(b"connection", b"close")])

    def turned_away(self, call: Call, status: int, text: str) -> Response:  # noqa: ARG002
        return json_response({"message": text}, status, [(b"connection", b"close")])

    def _auth_routes(self) -> None:
        message, signed_in = doc.MESSAGE, doc.SIGNED_IN
        self.route(
            "POST",
            "/api/auth/login",
            auth.login,
            summary="Sign in",
            body=doc.LOGIN,
            answers=doc.answers({200: signed_in}, 403, 404, 422, 429),
        )
        self.route(
            "POST",
            "/api/auth/logout",
            auth.logout,
            summary="End the session",
            answers=doc.answers({200: message}, 401, 403),
        )
        self.route(
            "POST",
            "/api/auth/register",
            auth.register,
            summary="Register a password account",
            body=doc.REGISTER,
            answers=doc.answers({200: doc.REGISTERED}, 400, 403, 404, 429),
        )
        self.route(
            "POST",
            "/api/auth/refresh",
            auth.refresh,
            summary="A new access token for the cookie",
            query={"retry": {"type": "string"}},
            answers=doc.answers({200: doc.REFRESHED, 401: doc.TEXT, 403: doc.TEXT_OR_MESSAGE}, 429),
        )
        self.route(
            "POST",
            "/api/auth/requestPasswordReset",
            recovery.request_password_reset,
            summary="Ask for a reset mail",
            body=doc.EMAIL,
            answers=doc.answers({200: message, 403: doc.TEXT_OR_MESSAGE}, 429),
        )
        self.route(
            "POST",
            "/api/auth/resetPassword",
            recovery.reset_password,
            summary="Set a new password",
            body=doc.RESET,
            answers=doc.answers({200: message, 403: doc.TEXT_OR_MESSAGE}, 400, 429),
        )
        self.route(
            "GET",
            "/api/auth/csrf",
            auth.csrf,
            summary="A CSRF token for those who want one",
            answers=doc.answers({200: doc.object_of(csrfToken={"type": "string"})}),
        )

    def _factor_routes(self) -> None:
        code = doc.CODE
        self.route(
            "POST",
            "/api/auth/2fa/enable",
            two_factor.enable,
            summary="Begin enrolment",
            body=code,
            answers=doc.answers({200: doc.ENROLMENT}, 400, 401, 403, 429),
        )
        self.route(
            "POST",
            "/api/auth/2fa/verify",
            two_factor.verify,
            summary="Try a code",
            body=code,
            answers=doc.answers({200: doc.EMPTY}, 400, 401, 403, 429),
        )
        self.route(
            "POST",
            "/api/auth/2fa/confirm",
            two_factor.confirm,
            summary="Make the enrolment live",
            body=code,
            answers=doc.answers({200: doc.EMPTY}, 400, 401, 403, 429),
        )
        self.route(
            "POST",
            "/api/auth/2fa/disable",
            two_factor.disable,
            summary="Switch the second factor off",
            body=code,
            answers=doc.answers({200: doc.EMPTY}, 400, 401, 403, 429),
        )
        self.route(
            "POST",
            "/api/auth/2fa/backup/regenerate",
            two_factor.regenerate,
            summary="Fresh backup codes",
            body=code,
            answers=doc.answers({200: doc.BACKUP_CODES}, 400, 401, 403, 429),
        )
        self.route(
            "POST",
            "/api/auth/2fa/verify-temp",
            two_factor.verify_temp,
            summary="Answer a pending sign-in",
            body=doc.VERIFY_TEMP,
            answers=doc.answers({200: doc.SIGNED_IN}, 400, 401, 403, 429),
        )

    def _user_routes(self) -> None:
        message = doc.MESSAGE
        self.route("GET", "/api/user", user.me, summary="Who is signed in", answers=doc.answers({200: doc.USER}, 401))
        self.route("GET", "/api/user/terms", user.terms, summary="Terms accepted?", answers=doc.answers({200: doc.TERMS}, 401))
        self.route(
            "POST",
            "/api/user/terms/accept",
            user.accept_terms,
            summary="Accept the terms",
            answers=doc.answers({200: message}, 401, 404),
        )
        self.route(
            "POST",
            "/api/user/verify",
            recovery.verify,
            summary="Verify an address",
            body=doc.VERIFY,
            answers=doc.answers({200: message}, 400, 403, 429),
        )
        self.route(
            "POST",
            "/api/user/verify/resend",
            recovery.resend,
            summary="Another verification mail",
            body=doc.EMAIL,
            answers=doc.answers({200: message}, 403, 429),
        )
        self.route(
            "DELETE",
            "/api/user/delete",
            user.delete,
            summary="Delete the account",
            body=doc.CODE,
            answers=doc.answers({200: message}, 400, 401, 403, 429),
        )

    def _session_routes(self) -> None:
        self.route(
            "GET",
            own_sessions.LIST_PATH,
            user.list_sessions,
            summary="The owner's sessions",
            answers=doc.answers({200: doc.ANY_OBJECT}, 401),
        )
        self.route(
            "DELETE",
            f"{own_sessions.LIST_PATH}/{{id}}",
            user.end_session,
            summary="End one of the owner's sessions",
            answers=doc.answers({200: doc.MESSAGE}, 401, 404),
        )
        for method, endpoint, summary in (
            ("GET", user.ask_end_sessions, "Ask whether to end all sessions (mail link)"),
            ("POST", user.end_sessions_by_link, "End all sessions of the mail link's account"),
        ):
            self.route(
                method,
                own_sessions.END_PATH,
                endpoint,
                summary=summary,
                query={"user": {"type": "string"}, "code": {"type": "string"}},
                answers=doc.answers({200: doc.TEXT}, 400, 429),
                is_opened=True,
            )

    def _screen_routes(self) -> None:
        self.route(
            "GET",
            "/api/config",
            config.config,
            summary="What the sign-in screens show",
            answers=doc.answers({200: doc.ANY_OBJECT}),
        )
        self.route(
            "GET",
            "/api/banner",
            config.banner,
            summary="The operator's banner",
            answers=doc.answers({200: doc.ANY_OBJECT}),
        )
        self.route(
            "GET",
            "/api/roles/{name}",
            config.role,
            summary="A role's permissions",
            answers=doc.answers({200: doc.ANY_OBJECT}, 401, 403, 404),
        )

    def _federated_routes(self) -> None:
        moved = doc.answers({302: doc.MOVED, 303: doc.MOVED}, 403, 429)
        for provider in self._providers:
            begin, back = f"/oauth/{provider}", f"/oauth/{provider}/callback"
            method = "POST" if provider in oauth.POSTED else "GET"
            self.route(
                "GET", begin, oauth.start, summary=f"Sign in with {provider}", answers=moved, is_harmless=False, is_opened=True
            )
            self.route(
                method, back, oauth.callback, summary=f"Return from {provider}", answers=moved, is_harmless=False, is_opened=True
            )
        for provider in oauth.PROVIDERS:
            self.route("GET", f"/api/auth/{provider}", oauth.documented_start, summary=f"To /oauth/{provider}", answers=moved)
        self.route("GET", "/oauth/error", oauth.error, summary="A failed sign-in elsewhere", answers=moved)
        self.route(
            "GET",
            "/oauth/saml/metadata",
            saml.metadata,
            summary="Our SAML metadata",
            answers=doc.answers({200: doc.METADATA}, 404),
        )
        for provider in ("openid", *self._providers[len(oauth.PROVIDERS) :]):
            self.route(
                "POST",
                f"/oauth/{provider}/backchannel-logout",
                federated_sessions.backchannel_logout,
                summary=f"{provider} ends sessions",
                body=doc.ANY_BODY,
                answers=doc.answers({200: doc.EMPTY, 400: doc.ANY_OBJECT}, 404),
            )
        self.route(
            "GET",
            "/api/auth/graph-token",
            federated_sessions.graph_token,
            summary="A Microsoft Graph token",
            query={"scopes": {"type": "string"}},
            answers=doc.answers({200: doc.GRAPH_TOKEN}, 400, 401, 403, 500),
        )
        self._identity_routes()
        self._admin_routes()

    def _identity_routes(self) -> None:
        self.route(
            "GET",
            f"{PATH}{{name}}",
            pictures.show,
            summary="A person's picture",
            answers=doc.answers({200: doc.PICTURE}, 404),
        )
        self.route(
            "GET",
            "/api/user/identities",
            identities.listed,
            summary="The owner's identities elsewhere",
            answers=doc.answers({200: doc.ANY_OBJECT}, 401),
        )
        self.route(
            "POST",
            "/api/user/identities/{name}",
            identities.begin,
            summary="Link one: where to send the browser",
            body=doc.CODE,
            answers=doc.answers({200: doc.object_of(url={"type": "string"})}, 400, 401, 403, 404, 429),
        )
        self.route(
            "DELETE",
            "/api/user/identities/{name}",
            identities.unlink,
            summary="Unlink one",
            body=doc.CODE,
            answers=doc.answers({200: doc.MESSAGE}, 400, 401, 403, 404, 409, 429),
        )

    def _admin_routes(self) -> None:
        for provider in oauth.PROVIDERS:
            method = "POST" if provider in oauth.POSTED else "GET"
            self.route(
                "GET",
                f"/api/admin/oauth/{provider}",
                admin.provider_start,
                summary=f"Administrators with {provider}",
                query={"code_challenge": {"type": "string"}},
                answers=doc.answers({302: doc.MOVED, 303: doc.MOVED, 404: doc.ADMIN_ERROR}, 403, 429),
                is_harmless=False,
            )
            self.route(
                method,
                f"/api/admin/oauth/{provider}/callback",
                admin.provider_return,
                summary=f"Return from {provider}",
                answers=doc.answers({302: doc.MOVED, 404: doc.ADMIN_ERROR}, 403, 429),
                is_harmless=False,
            )
        self.route(
            "POST",
            "/api/admin/login/local",
            admin.login,
            summary="Administrators sign in",
            body=doc.LOGIN,
            answers=doc.answers({200: doc.SIGNED_IN}, 403, 404, 422, 429),
        )
        self.route(
            "GET",
            "/api/admin/verify",
            admin.verify,
            summary="Is this an administrator?",
            answers=doc.answers({200: doc.ANY_OBJECT}, 401, 403),
        )
        self.route(
            "GET",
            "/api/admin/oauth/openid/check",
            admin.provider_check,
            summary="Is OpenID configured?",
            answers=doc.answers({404: doc.ADMIN_ERROR}),
        )
        self.route(
            "POST",
            "/api/admin/oauth/exchange",
            admin.exchange,
            summary="Exchange a code",
            body=doc.ANY_BODY,
            answers=doc.answers({200: doc.ANY_OBJECT, 400: doc.ADMIN_ERROR, 401: doc.ADMIN_ERROR}, 403),
        )
        self.route(
            "POST",
            "/api/admin/oauth/refresh",
            admin.refresh,
            summary="Fresh tokens for the panel",
            body=doc.ANY_BODY,
            answers=doc.answers(dict.fromkeys((400, 401, 403, 502, 503), doc.ADMIN_ERROR) | {200: doc.ANY_OBJECT}, 429),
        )
