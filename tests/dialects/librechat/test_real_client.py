"""The npm package `librechat-data-provider` tells the whole story against the served application, with a real SMTP server."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ostiary.crypto import otp
from tests.served import served
from tests.services.smtp import MailServer

NODE = Path(__file__).parents[2] / "node"
EMAIL = "ada+chat@example.org"
PASSWORD = "correct horse battery"
NEW_PASSWORD = "staple battery horse"
REGISTRATION = {"name": "Ada Lovelace", "username": "ada", "email": EMAIL, "password": PASSWORD, "confirm_password": PASSWORD}
LOGIN = {"email": EMAIL, "password": PASSWORD}


class ClientRefusedError(Exception):
    """The client's call failed with this status."""

    def __init__(self, status: int, data: object) -> None:
        super().__init__(f"{status}: {data}")
        self.status = status
        self.data = data


class Client:
    """The package's functions by name: `client.call("login", {...})`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, name: str, *arguments: object, tab: str = "first") -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"tab": tab, "call": name, "args": arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if not answer["ok"]:
            raise ClientRefusedError(answer["status"], answer["data"])
        return answer["data"]

    def sign_in(self, login: dict[str, str], tab: str = "first") -> Any:
        answer = self.call("login", login, tab=tab)
        if "token" in answer:
            self.call("useToken", answer["token"], tab=tab)
        return answer

    def refused(self, name: str, *arguments: object, tab: str = "first") -> int:
        """The status of a call that must fail."""
        with pytest.raises(ClientRefusedError) as refusal:
            self.call(name, *arguments, tab=tab)
        return refusal.value.status


@contextmanager
def _client(url: str) -> Iterator[Client]:
    process = subprocess.Popen(
        ["node", str(NODE / "librechat_driver.mjs"), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=NODE
    )
    try:
        yield Client(process)
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait(10)


def _link(mail_server: MailServer, subject: str) -> dict[str, str]:
    """The query of the link in the newest mail with this subject."""
    mail = mail_server.wait(EMAIL, subject)
    body = mail.get_body(("plain",))
    assert body is not None
    (url,) = re.findall(r"http://\S+", body.get_content())
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _fresh_code(secret: str, last: str = "") -> str:
    """A code that was not used yet: the next step's is accepted as well, so nothing has to be waited for."""
    raw = otp.decode_secret(secret)
    assert raw is not None
    step = int(time.time()) // otp.STEP_SECONDS
    return next(code for code in (otp.code_at(raw, step), otp.code_at(raw, step + 1)) if code != last)


def test_the_client_registers_signs_in_refreshes_and_signs_out_with_the_local_mailbox(tmp_path: Path) -> None:
    with served(tmp_path) as place, _client(place.url) as client:
        startup = client.call("getStartupConfig")
        client.call("register", REGISTRATION)
        signed_in = client.sign_in(LOGIN)
        user = client.call("getUser")
        refreshed = client.call("refresh")
        role = client.call("getRole", "USER")
        goodbye = client.call("logout")

        assert startup["emailLoginEnabled"] is True
        assert startup["registrationEnabled"] is True
        assert signed_in["user"]["email"] == EMAIL
        assert (user["id"], user["role"], user["twoFactorEnabled"]) == (signed_in["user"]["id"], "ADMIN", False)
        assert refreshed["user"]["id"] == user["id"]
        assert role["name"] == "USER"
        assert goodbye["message"] == "Logout successful"
        assert client.refused("getUser") == 401
        assert client.call("refresh") == "Refresh token not provided"


def test_the_whole_story_with_real_mail(tmp_path: Path) -> None:
    with MailServer() as mail_server:
        mail = {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mail_server.port),
            "EMAIL_ENCRYPTION": "none",
            "EMAIL_FROM": "id@example.org",
        }
        with served(tmp_path, mail) as place, _client(place.url) as client:
            _register_and_verify(client, mail_server)
            _two_tabs(client)
            secret, codes, used = _enable_two_factor(client)
            _sign_in_with_codes(client, secret, codes, used)
            _reset(client, mail_server)
            _delete(client, codes)


def _register_and_verify(client: Client, mail_server: MailServer) -> None:
    client.call("register", REGISTRATION)
    link = _link(mail_server, "Verify your email")

    assert client.refused("login", LOGIN) == 422
    verified = client.call("verifyEmail", link)

    assert verified["status"] == "success"
    assert client.sign_in(LOGIN)["user"]["emailVerified"] is True


def _two_tabs(client: Client) -> None:
    client.call("useToken", client.call("refresh")["token"])
    shared = client.call("cookies")

    first = client.call("refresh")
    client.call("setCookies", shared)
    second = client.call("refresh", tab="second")

    client.call("useToken", second["token"], tab="second")
    assert first["user"]["id"] == second["user"]["id"]
    assert client.call("getUser", tab="second")["id"] == client.call("refresh")["user"]["id"]


def _enable_two_factor(client: Client) -> tuple[str, list[str], str]:
    enrolment = client.call("enableTwoFactor")
    code = _fresh_code(enrolment["secret"])
    client.call("verifyTwoFactor", {"token": code})
    client.call("confirmTwoFactor", {"token": code})

    assert enrolment["qrCode"].startswith("data:image/png;base64,")
    assert client.call("getUser")["twoFactorEnabled"] is True
    return enrolment["secret"], enrolment["backupCodes"], code


def _sign_in_with_codes(client: Client, secret: str, codes: list[str], used: str) -> None:
    client.call("dropCookies")
    pending = client.sign_in(LOGIN)
    assert pending["twoFAPending"] is True
    assert client.call("cookies").keys() <= {"ostiary_device"}

    assert client.refused("verifyTwoFactorTemp", {"tempToken": pending["tempToken"], "token": used}) == 401
    by_code = client.call("verifyTwoFactorTemp", {"tempToken": pending["tempToken"], "token": _fresh_code(secret, used)})
    again = client.sign_in(LOGIN)
    by_backup_code = client.call("verifyTwoFactorTemp", {"tempToken": again["tempToken"], "backupCode": codes[0]})
    third = client.sign_in(LOGIN)

    assert by_code["token"]
    assert by_backup_code["token"]
    assert client.refused("verifyTwoFactorTemp", {"tempToken": third["tempToken"], "backupCode": codes[0]}) == 401


def _reset(client: Client, mail_server: MailServer) -> None:
    client.call("requestPasswordReset", {"email": EMAIL})
    link = _link(mail_server, "Password Reset Request")

    done = client.call("resetPassword", {**link, "password": NEW_PASSWORD, "confirm_password": NEW_PASSWORD})

    assert done["message"] == "Password reset was successful"
    assert client.refused("refresh") in {401, 403}
    assert client.refused("login", LOGIN) == 404


def _delete(client: Client, codes: list[str]) -> None:
    pending = client.sign_in({"email": EMAIL, "password": NEW_PASSWORD})
    signed_in = client.call("verifyTwoFactorTemp", {"tempToken": pending["tempToken"], "backupCode": codes[1]})
    client.call("useToken", signed_in["token"])

    assert client.refused("deleteUser", {}) == 400
    deleted = client.call("deleteUser", {"backupCode": codes[2]})

    assert deleted["message"] == "User deleted"
    assert client.refused("getUser") == 401
    assert client.refused("login", {"email": EMAIL, "password": NEW_PASSWORD}) == 404
