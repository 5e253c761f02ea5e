"""Apple's client secret: a JWT that we sign ourselves, good for an hour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from ostiary.identity.refusals import FederationRefused
from ostiary.settings import Apple

LIFE = 3600
SECOND = 1_000_000
AUDIENCE = "https://appleid.apple.com"


class AppleSecret:
    """Called for the secret of the moment. Raises FederationRefused when the key cannot be used."""

    def __init__(self, settings: Apple, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._key: ECKey | None = None

    def __call__(self) -> str:
        issued = self._clock() // SECOND
        settings = self._settings
        header = {"alg": "ES256", "kid": settings.key_id}
        claims = {
            "iss": settings.team_id,
            "iat": issued,
            "exp": issued + LIFE,
            "aud": AUDIENCE,
            "sub": settings.client_id,
        }
        try:
            if self._key is None:
                given = settings.private_key.get_secret_value() or Path(settings.private_key_path).read_text(encoding="utf-8")
                self._key = ECKey.import_key(given.replace("\\n", "\n"))
            return jwt.encode(header, claims, self._key, algorithms=["ES256"])
        except (OSError, ValueError, JoseError) as error:
            raise FederationRefused("apple_key_unusable") from error
