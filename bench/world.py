"""Who is there before anything is measured: password accounts, signed in, and key accounts; and what their clients send."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from bench.load import CHAINED, Client, Stream
from bench.wire import Connection, request

PASSWORD = "correct horse battery staple"
WRONG_PASSWORD = "correct horse battery stapler"
THREADS = 4
MOST_REGISTRATIONS = 200
"""A second, of one client: more than any machine hashes."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A password account's browser."""

    email: str
    bearer: str
    cookie: str


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A key account's client. The private key is what it would derive from the password; deriving it is no work of the server."""

    email: str
    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    def shared_key(self, server_key: str) -> str:
        """What the server expects of the holder."""
        return self.private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(server_key))).hex()


def fresh_email() -> str:
    """An address that nobody has."""
    return f"{secrets.token_hex(8)}@example.com"


def registration(email: str) -> bytes:
    """A password account's registration."""
    body = {"name": "Test User", "email": email, "password": PASSWORD, "confirm_password": PASSWORD}
    return request("POST", "/api/auth/register", body)


def login(email: str, password: str = PASSWORD) -> bytes:
    """A password account's sign-in."""
    return request("POST", "/api/auth/login", {"email": email, "password": password})


def pre_login(email: str) -> bytes:
    """What a key client asks first."""
    return request("GET", f"/api/auth/preLogin?email={quote(email)}")


def key_registration(holder: KeyHolder, server_key: str) -> bytes:
    """A key account's registration."""
    body = {
        "email": holder.email,
        "sharedKey": holder.shared_key(server_key),
        "publicKey": holder.private.public_key().public_bytes_raw().hex(),
        "parallelism": 3,
        "memory": 65536,
        "iterations": 4,
    }
    return request("POST", "/api/auth/register", body)


def key_login(email: str, shared_key: str) -> bytes:
    """A key account's sign-in."""
    return request("POST", "/api/auth/oauth?grantType=login", {"email": email, "sharedKey": shared_key})


def server_key(connection: Connection) -> str:
    """The key that the server hands out now."""
    key: str = connection.ask(pre_login("")).json()["serverPublicKey"]
    return key


def sign_up(port: int, count: int) -> list[str]:
    """So many password accounts; their addresses."""

    def some(emails: list[str]) -> None:
        with Connection(port) as connection:
            for email in emails:
                connection.ask(registration(email))

    emails = [fresh_email() for _ in range(count)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, [emails[start::THREADS] for start in range(THREADS)]))
    return emails


def sign_up_keys(port: int, count: int) -> list[KeyHolder]:
    """So many key accounts."""
    holders = [KeyHolder(fresh_email()) for _ in range(count)]
    with Connection(port) as connection:
        key = server_key(connection)
        for holder in holders:
            connection.ask(key_registration(holder, key), expect=201)
    return holders


class World:
    """The accounts, and one stream for each operation."""

    def __init__(self, port: int, clients: int, accounts: int, key_accounts: int) -> None:
        self.port = port
        self.clients = clients
        emails = sign_up(port, clients + max(accounts, clients))
        # Who stays signed in has an account of their own: one account keeps only its newest 100 sessions.
        stay, others = emails[:clients], emails[clients:]
        self._browsers = [self._signed_in(email) for email in stay]
        # No two clients share an account: failed and pending proofs are counted by account.
        self._emails = [others[start::clients] for start in range(clients)]
        self._cookies = [browser.cookie for browser in self._browsers]
        self._holders = sign_up_keys(port, max(key_accounts, clients))

    def registrations(self, seconds: float) -> Stream:
        """Everybody registers new accounts."""
        count = int(MOST_REGISTRATIONS * seconds) + 1
        return Stream("register", [Client([registration(fresh_email()) for _ in range(count)]) for _ in range(self.clients)])

    def logins(self, clients: int = 0) -> Stream:
        """So many clients (all without a number) sign in with a password."""
        shares = self._emails[: clients or self.clients]
        return Stream("login", [Client([login(email) for email in emails]) for emails in shares])

    def session_checks(self, clients: int = 0) -> Stream:
        """So many clients (all without a number) ask who they are."""
        ask = [
            request("GET", "/api/user", authorization=f"Bearer {browser.bearer}")
            for browser in self._browsers[: clients or self.clients]
        ]
        return Stream("session check", [Client([raw]) for raw in ask])

    def refreshes(self, clients: int = 0, rate: float = 0) -> Stream:
        """So many clients (all of them without a number) rotate their refresh tokens, each its own chain."""
        raw = request("POST", "/api/auth/refresh", cookie=f"refreshToken={CHAINED.decode()}")
        return Stream("refresh", [Client([raw], cookie) for cookie in self._cookies[: clients or self.clients]], rate=rate)

    def keep_cookies(self, cookies: list[str]) -> None:
        """Go on from here: these are the newest of the first so many chains."""
        self._cookies[: len(cookies)] = cookies

    def pre_logins(self, clients: int = 0, rate: float = 0) -> Stream:
        """So many clients (all without a number) ask for the server's key: for accounts, for strangers, for nobody."""
        ask = [pre_login(email) for email in (self._holders[0].email, fresh_email(), "")]
        return Stream("preLogin", [Client(ask) for _ in range(clients or self.clients)], rate=rate)

    def key_logins(self) -> Stream:
        """Everybody signs in with a key, made for the key that the server hands out now."""
        with Connection(self.port) as connection:
            key = server_key(connection)
        shares = [self._holders[start :: self.clients] for start in range(self.clients)]
        return Stream(
            "key login",
            [Client([key_login(holder.email, holder.shared_key(key)) for holder in share]) for share in shares],
        )

    def _signed_in(self, email: str) -> SignedIn:
        with Connection(self.port) as connection:
            reply = connection.ask(login(email))
        return SignedIn(email, reply.json()["token"], reply.cookie("refreshToken"))
