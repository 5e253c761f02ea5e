"""The second factor of whoever is signed in: setting it up with a picture to scan, its backup codes, switching it off."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Awaitable, Callable

import segno
from starlette.responses import Response

from ostiary.crypto import otp
from ostiary.http.calls import Call
from ostiary.identity import step_up, totp
from ostiary.identity.context import Context
from ostiary.identity.refusals import CodeMissing, CodeRefused, FactorAbsent, Throttled
from ostiary.identity.sessions import Principal
from ostiary.web import codes, forms, problems, visitors
from ostiary.web.rendering import page, see

SET_UP = "/account/two-factor/set-up"


async def begin(call: Call) -> Response:
    """Make a secret and keep it aside until a code confirms it. Where a factor is on, a code of it is needed."""
    typed = forms.posted(call)
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            await step_up.require_code(ctx, who, codes.proof_in(typed))
            await totp.begin_enrolment(ctx, who.account, otp.new_secret(), codes.fresh(who.account))
    except (CodeRefused, CodeMissing):
        return _code_page(call, "replace", 422, problem="factor.refused")
    return see(SET_UP)


async def set_up(call: Call) -> Response:
    """The picture to scan, the secret to type, and the field for the first code."""
    return await _set_up_page(call)


async def confirm(call: Call) -> Response:
    """The pending secret becomes live and the backup codes are shown, this once; every other session ends."""
    typed = forms.posted(call)
    code = codes.typed_in(typed)
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            pending = await totp.pending(ctx, who.account.id)
            if pending is None:
                return see(visitors.HOME)
            shown = codes.fresh(who.account)
            await step_up.confirm(ctx, who, pending, code, shown)
    except CodeRefused:
        return await _set_up_page(call, 422, problem="factor.refused")
    except FactorAbsent:
        return see(visitors.HOME)
    return page(call, "account_codes.html", codes=shown, is_new=True)


async def codes_form(call: Call) -> Response:
    """Asks for a code before fresh backup codes are made."""
    return await _asked(call, "codes")


async def new_codes(call: Call) -> Response:
    """Fresh backup codes in place of all, shown this once."""

    async def renew(ctx: Context, who: Principal) -> Response:
        shown = codes.fresh(who.account)
        await step_up.replace_backup_codes(ctx, who, shown)
        return page(call, "account_codes.html", codes=shown, is_new=False)

    return await _by_code(call, "codes", renew)


async def replace_form(call: Call) -> Response:
    """Asks for a code of the present authenticator before another takes its place."""
    return await _asked(call, "replace")


async def off_form(call: Call) -> Response:
    """Asks for a code before the second factor is switched off."""
    return await _asked(call, "off")


async def switch_off(call: Call) -> Response:
    """Every enrolment and every backup code goes; other sessions end."""

    async def remove(ctx: Context, who: Principal) -> Response:
        await step_up.switch_off(ctx, who)
        return see("/account?notice=factor_off")

    return await _by_code(call, "off", remove)


async def _by_code(call: Call, what: str, deed: Callable[[Context, Principal], Awaitable[Response]]) -> Response:
    """Do it for an owner whose form has a right code of the factor that is on."""
    typed = forms.posted(call)
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            if not who.account.has_factor:
                return see(visitors.HOME)
            await step_up.require_code(ctx, who, codes.proof_in(typed))
            return await deed(ctx, who)
    except (CodeRefused, CodeMissing):
        return _code_page(call, what, 422, problem="factor.refused")


async def _asked(call: Call, what: str) -> Response:
    async with call.begin() as ctx:
        who = await visitors.owner(call, ctx)
    return _code_page(call, what) if who.account.has_factor else see(visitors.HOME)


def _code_page(call: Call, what: str, status: int = 200, problem: str = "") -> Response:
    actions = {"codes": "/account/two-factor/codes", "replace": "/account/two-factor", "off": "/account/two-factor/off"}
    return page(call, "account_code.html", status, problem=problem, what=what, action=actions[what])


async def _set_up_page(call: Call, status: int = 200, problem: str = "") -> Response:
    try:
        async with call.begin() as ctx:
            who = await visitors.owner(call, ctx)
            pending = await totp.pending(ctx, who.account.id)
            secret = b32encode(totp.open_secret(ctx, pending)).decode("ascii").rstrip("=") if pending else ""
    except Throttled as refusal:
        return problems.limited(call, refusal)
    if not secret:
        return see(visitors.HOME)
    url = otp.otpauth_url(secret, who.account.email, call.settings.server.product_name)
    picture = segno.make(url, error="m").png_data_uri(scale=6, border=4)
    spaced = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    return page(call, "account_set_up.html", status, problem=problem, picture=picture, secret=spaced, url=url)
