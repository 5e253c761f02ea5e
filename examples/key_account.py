"""A key account from the outside: register, sign in, ask for something that only its owner gets.

    python examples/key_account.py http://127.0.0.1:3080 grace@example.org 'correct horse'

The password never leaves this program. Needs argon2-cffi and cryptography.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey


def call(url: str, body: dict[str, Any] | None = None, key: str | None = None) -> Any:  # noqa: ANN401 - JSON
    """GET without a body, POST with one; the JSON that comes back."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, headers)  # noqa: S310 - http(s) given by the caller
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{url} answered {error.code}: {error.read().decode()}")


def derive(email: str, password: str, parameters: dict[str, Any]) -> X25519PrivateKey:
    """The key behind the password: Argon2id, salted with the e-mail as typed."""
    secret = hash_secret_raw(
        password.encode(),
        email.encode(),
        time_cost=parameters["iterations"],
        memory_cost=parameters["memory"],
        parallelism=parameters["parallelism"],
        hash_len=32,
        type=Type.ID,
    )
    return X25519PrivateKey.from_private_bytes(secret)


def shared_key(private: X25519PrivateKey, parameters: dict[str, Any]) -> str:
    """The proof: only the holder of the private key, and the server, can work it out."""
    server = X25519PublicKey.from_public_bytes(bytes.fromhex(parameters["serverPublicKey"]))
    return private.exchange(server).hex()


def main(server: str, email: str, password: str) -> None:
    """Register, sign in, synchronise an empty vault."""
    pre_login = f"{server}/api/auth/preLogin?email="

    fresh = call(pre_login)
    private = derive(email, password, fresh)
    derivation = {name: fresh[name] for name in ("parallelism", "memory", "iterations")}
    public = private.public_key().public_bytes_raw().hex()
    proof = shared_key(private, fresh)
    call(f"{server}/api/auth/register", {"email": email, "publicKey": public, "sharedKey": proof, **derivation})
    print("registered", email)

    known = call(pre_login + quote(email))
    proof = shared_key(derive(email, password, known), known)
    session = call(f"{server}/api/auth/oauth?grantType=login", {"email": email, "sharedKey": proof})
    print("signed in as", session["userId"], "with a key that begins", session["apiKey"][:6])

    vault = call(f"{server}/api/cipher/sync", {"lastSyncTimestamp": 0, "updated": [], "deleted": []}, session["apiKey"])
    print("vault:", json.dumps(vault))


if __name__ == "__main__":
    main(*sys.argv[1:4])
