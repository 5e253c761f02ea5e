"""The pages for people: a third face of the core, through the same use cases and the one door. README.md says how to add one."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from functools import partial

from starlette.responses import Response

from ostiary.http.calls import Call, Header
from ostiary.http.wire import Endpoint, Wire
from ostiary.identity import key_accounts as core_key_accounts
from ostiary.identity import recovery as core_recovery
from ostiary.identity import verification
from ostiary.identity.asks import Answer
from ostiary.identity.refusals import Refusal
from ostiary.settings import Settings
from ostiary.web import (
    account,
    account_access,
    account_factors,
    key_accounts,
    key_sign_in,
    mail_checks,
    mail_links,
    mailbox,
    problems,
    recovery,
    sign_in,
    sign_up,
    terms,
)
from ostiary.web.account_access import DEPARTURE, Departure
from ostiary.web.assets import Assets
from ostiary.web.rendering import ASSETS


class Pages(Wire):
    """The routes, and how trouble looks. Raises SettingsError for a logo that cannot be used."""

    name = "pages"

    def __init__(self, settings: Settings, departure: Departure | None = None) -> None:
        """`departure` is how an owner sets out to link an identity elsewhere, where a wire knows the way back."""
        super().__init__()
        self._departure = departure
        self._assets = Assets(settings.pages)
        for path, endpoint in self._assets.endpoints():
            self.page("GET", path, endpoint)
        self._sign_in_pages()
        self._key_pages(settings)
        self._mail_pages()
        self._account_pages()

    def page(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Serve `endpoint`. A page's GET changes nothing, so that neither a scanner nor a prefetch does."""
        self.route(method, path, endpoint, summary=path, answers={200: {}})

    def answer(self, call: Call) -> Awaitable[Response]:
        call.scope[ASSETS] = self._assets
        call.scope[DEPARTURE] = self._departure
        return super().answer(call)

    @property
    def answers(self) -> Mapping[str, Answer]:
        return {
            "hint": core_key_accounts.answer_hint,
            "reset": core_recovery.answer,
            "verification": partial(verification.answer, style=verification.STYLE, template="verification"),
        }

    def refused(self, call: Call, refusal: Refusal) -> Response:
        # A wire's own call comes here too, when a browser is to be shown what went wrong there.
        call.scope[ASSETS] = self._assets
        return problems.refused(call, refusal)

    def malformed(self, call: Call) -> Response:
        return self._problem(call, 400, "malformed")

    def unavailable(self, call: Call, retry_after: int) -> Response:
        return self._problem(call, 503, "busy", [(b"retry-after", b"%d" % retry_after)])

    def failed(self, call: Call) -> Response:
        return self._problem(call, 500, "failed")

    def not_found(self, call: Call) -> Response:
        return self._problem(call, 404, "not_found")

    def wrong_method(self, call: Call, allowed: str) -> Response:
        return self._problem(call, 405, "not_found", [(b"allow", allowed.encode())])

    def too_large(self, call: Call) -> Response:
        return self._problem(call, 413, "malformed", [(b"connection", b"close")])

    def turned_away(self, call: Call, status: int, text: str) -> Response:  # noqa: ARG002 - the page has its own words
        return self._problem(call, status, "malformed", [(b"connection", b"close")])

    def _problem(self, call: Call, status: int, name: str, headers: Iterable[Header] = ()) -> Response:
        call.scope[ASSETS] = self._assets
        return problems.problem(call, status, f"refused.{name}", headers)

    def _sign_in_pages(self) -> None:
        self.page("GET", "/", sign_in.home)
        self.page("GET", "/login", sign_in.form)
        self.page("POST", "/login", sign_in.submit)
        self.page("GET", "/login/2fa", sign_in.factor_form)
        self.page("POST", "/login/2fa", sign_in.factor_submit)
        self.page("POST", "/logout", sign_in.sign_out)

    def _key_pages(self, settings: Settings) -> None:
        self.page("GET", key_sign_in.SECOND_STEP, key_sign_in.second_step)
        if not key_sign_in.has_keys(settings):
            return
        self.page("GET", key_sign_in.KEY_PAGE, key_sign_in.form)
        self.page("POST", key_sign_in.KEY_PAGE, key_sign_in.submit)
        self.page("POST", "/login/derivation", key_sign_in.derivation)
        self.page("GET", "/register/key", key_accounts.sign_up_form)
        self.page("POST", "/register/key", key_accounts.sign_up)
        self.page("GET", "/account/key", key_accounts.password_form)
        self.page("POST", "/account/key", key_accounts.password_submit)
        self.page("POST", "/account/key/vault", key_accounts.vault_state)
        self.page("GET", "/password-hint", key_accounts.hint_form)
        self.page("POST", "/password-hint", key_accounts.hint_submit)

    def _mail_pages(self) -> None:
        self.page("GET", "/register", sign_up.form)
        self.page("POST", "/register", sign_up.submit)
        self.page("GET", "/forgot-password", recovery.ask_form)
        self.page("POST", "/forgot-password", recovery.ask)
        self.page("GET", "/reset-password", recovery.form)
        self.page("POST", "/reset-password", recovery.submit)
        self.page("GET", "/check-mail", mail_checks.show)
        self.page("POST", "/check-mail", mail_checks.again)
        self.page("GET", "/verify", mail_links.verify_form)
        self.page("POST", "/verify", mail_links.verify)
        self.page("GET", "/verification/email", mail_links.verified)
        self.page("GET", "/end-session", mail_links.end_session_form)
        self.page("POST", "/end-session", mail_links.end_session)
        self.page("GET", "/mailbox", mailbox.show)

    def _account_pages(self) -> None:
        self.page("GET", "/terms", terms.form)
        self.page("POST", "/terms", terms.accept)
        self.page("GET", "/account", account.show)
        self.page("POST", "/account/profile", account.save_profile)
        self.page("GET", "/account/password", account.password_form)
        self.page("POST", "/account/password", account.change_password)
        self.page("GET", "/account/delete", account.delete_form)
        self.page("POST", "/account/delete", account.delete)
        self.page("GET", "/account/two-factor", account_factors.replace_form)
        self.page("POST", "/account/two-factor", account_factors.begin)
        self.page("GET", "/account/two-factor/set-up", account_factors.set_up)
        self.page("POST", "/account/two-factor/set-up", account_factors.confirm)
        self.page("GET", "/account/two-factor/codes", account_factors.codes_form)
        self.page("POST", "/account/two-factor/codes", account_factors.new_codes)
        self.page("GET", "/account/two-factor/off", account_factors.off_form)
        self.page("POST", "/account/two-factor/off", account_factors.switch_off)
        self.page("POST", "/account/sessions", account_access.end_session)
        self.page("POST", "/account/identities/link", account_access.link)
        self.page("POST", "/account/identities/unlink", account_access.unlink)
