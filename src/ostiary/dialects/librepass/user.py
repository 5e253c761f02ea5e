"""`/api/user` (librepass-wire 7), and two things that its clients never had: switching two-factor off, and a list of sessions."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from starlette.responses import Response

from ostiary.dialects import own_sessions
from ostiary.dialects.librepass import deps, schemas
from ostiary.dialects.librepass.auth import done, landing
from ostiary.dialects.librepass.errors import NothingThere
from ostiary.http.calls import Call, json_response, redirect
from ostiary.identity import accounts, backup_codes, deletion, key_accounts, session_links, step_up, throttle
from ostiary.identity.context import Context
from ostiary.identity.factors import AnyCode, FactorProof, TOTPCode
from ostiary.identity.key_accounts import EMAIL_CHANGE, Replacement
from ostiary.identity.links import LinkStyle
from ostiary.identity.public_keys import NewKey, Parameters
from ostiary.identity.refusals import DeletionClosed, FactorAbsent
from ostiary.identity.sessions import Principal

NEW_EMAIL = LinkStyle(
    purpose=EMAIL_CHANGE,
    life=timedelta(hours=24),
    new_token=lambda: str(uuid4()),
    url=lambda settings, account_id, _email, code: f"{settings.api_url}/api/user/verifyNewEmail?user={account_id}&code={code}",
)


async def change_email(call: Call) -> Response:
    """7.1: at once where addresses need no verification, else by the link in the new address's mail."""
    async with call.begin() as ctx:
        who = await _owner(call, ctx)
        given = deps.read(call, schemas.EmailChange)
        await key_accounts.prove(ctx, who, given.old_shared_key)
        new = Replacement(NewKey(given.new_public_key, given.new_shared_key), schemas.rewritten(given.ciphers))
        await key_accounts.ask_email_change(ctx, who, given.new_email, new, NEW_EMAIL)
    return done()


async def verify_new_email(call: Call) -> Response:
    """7.2. Refused when the vault changed since the link was asked for (section 20, W17)."""
    account_id, code = deps.account_and_code(call)
    async with call.begin() as ctx:
        keys = (deps.by_address(ctx), deps.by_account(ctx, account_id))
        await throttle.take(ctx, ctx.services.rules.standard, *keys)
        await key_accounts.confirm_email_change(ctx, account_id, code)
    return redirect(landing(call.settings))


async def change_password(call: Call) -> Response:
    """7.3. Every key of the account dies, this one too."""
    async with call.begin() as ctx:
        who = await _owner(call, ctx)
        given = deps.read(call, schemas.PasswordChange)
        await key_accounts.prove(ctx, who, given.old_shared_key)
        new = Replacement(NewKey(given.new_public_key, given.new_shared_key), schemas.rewritten(given.ciphers))
        derived = Parameters(given.parallelism, given.memory, given.iterations)
        await key_accounts.change_key(ctx, who, new, derived, given.hint)
    return done()


async def set_up_two_factor(call: Call) -> Response:
    """7.4, with a code of the old factor in `oldCode` where there is one (section 20, W1). The recovery code shows this once."""
    async with call.begin() as ctx:
        who = await _owner(call, ctx)
        given = deps.read(call, schemas.FactorSetUp)
        await key_accounts.prove(ctx, who, given.shared_key)
        codes = backup_codes.new_recovery_code()
        await step_up.enroll(ctx, who, given.secret, given.code, codes, _any_code(given.old_code))
    return json_response({"recoveryCode": codes[0]})


async def switch_two_factor_off(call: Call) -> Response:
    """Ours: with the shared key and a code, of either kind."""
    async with call.begin() as ctx:
        who = await _owner(call, ctx)
        given = deps.read(call, schemas.Confirmation)
        await key_accounts.prove(ctx, who, given.shared_key)
        if not who.account.has_factor:
            raise FactorAbsent
        await step_up.require_code(ctx, who, _any_code(given.code))
        await step_up.switch_off(ctx, who)
    return done()


async def delete(call: Call) -> Response:
    """7.5. With two-factor on, an authenticator's code; the recovery code is for signing in."""
    async with call.begin() as ctx:
        who = await _owner(call, ctx)
        given = deps.read(call, schemas.Confirmation)
        if not (ctx.settings.policy.allow_account_deletion or who.account.role == accounts.ADMIN):
            raise DeletionClosed
        await key_accounts.prove(ctx, who, given.shared_key)
        await deletion.by_owner(ctx, who, TOTPCode(given.code) if given.code else None)
    return done()


async def list_sessions(call: Call) -> Response:
    """Ours: the owner's live sessions."""
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        found = await own_sessions.listed(ctx, who)
    return json_response(found)


async def end_session(call: Call) -> Response:
    """Ours: end one session, which is also how a client signs out."""
    async with call.begin() as ctx:
        who = await deps.principal(call, ctx)
        if not await own_sessions.end(ctx, who, deps.path_id(call)):
            raise NothingThere
    return done()


async def ask_end_session(call: Call) -> Response:
    """Ours: what the link "it was not me" in a mail opens. It changes nothing."""
    account_id, code = deps.account_and_code(call)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.standard, deps.by_address(ctx))
        await session_links.check(ctx, account_id, code)
    return own_sessions.question(call)


async def end_session_by_link(call: Call) -> Response:
    """Ours: the button of that page."""
    account_id, code = deps.account_and_code(call)
    async with call.begin() as ctx:
        await throttle.take(ctx, ctx.services.rules.standard, deps.by_address(ctx))
        await session_links.end(ctx, account_id, code)
    return own_sessions.ended(call)


async def _owner(call: Call, ctx: Context) -> Principal:
    """Who acts, within the account's own bucket (section 20, W14)."""
    who = await deps.principal(call, ctx)
    await throttle.take(ctx, ctx.services.rules.standard, f"account {who.account.id}")
    return who


def _any_code(code: str | None) -> FactorProof | None:
    return AnyCode(code) if code else None
