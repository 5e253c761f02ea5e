"""A small server of breached passwords: the range API of Have I Been Pwned, with its padding, on loopback."""

from __future__ import annotations

import hashlib
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

PADDING = 40


class RangeServer:
    """Knows these passwords; set `mode` to make it fail."""

    def __init__(self, *passwords: str) -> None:
        self.mode: Literal["right", "silent", "broken", "page", "huge"] = "right"
        self.asked: list[tuple[str, str]] = []
        """Path and the header `add-padding` of each request."""
        self._digests = {hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper() for password in passwords}
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, padding: str) -> tuple[int, bytes]:
        """Every digest that begins so, among others that count nothing."""
        self.asked.append((path, padding))
        prefix = path.removeprefix("/range/")
        if self.mode == "silent":
            self._closing.wait()
        if self.mode == "broken":
            return 503, b"try later"
        if self.mode == "page":
            return 200, b"<html>Sign in to the network of this hotel</html>"
        if self.mode == "huge":
            return 200, b"0" * (2 << 20)
        lines = [f"{digest[5:]}:{number + 2}" for number, digest in enumerate(sorted(self._digests)) if digest[:5] == prefix]
        lines += [f"{secrets.token_hex(18)[:35].upper()}:0" for _ in range(PADDING)]
        return 200, "\r\n".join(lines).encode()

    def padded(self, password: str) -> None:
        """From now on this password's own digest comes back as padding."""
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        self._digests.discard(digest)
        right = self.answer
        self.answer = lambda path, padding: (200, right(path, padding)[1] + f"\r\n{digest[5:]}:0".encode())  # type: ignore[method-assign]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = server.answer(self.path, self.headers.get("add-padding", ""))
                try:
                    self.send_response(status)
                    self.send_header("content-type", "text/plain")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    # Whoever asked had no more patience.
                    self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
                pass

        return Handler
