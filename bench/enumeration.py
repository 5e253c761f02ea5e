"""`python -m bench.enumeration`: whether a stranger can tell by the clock who has an account.

For each answer that must look alike, known and unknown addresses take turns in random order on an idle server. AUC is the chance
that a known address takes longer than an unknown one (Mann-Whitney): 0.5 tells nothing. The echo is a request that changes
nothing, sent right after the answer: work that goes on behind it would show there.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from math import sqrt
from statistics import median
from urllib.parse import quote

from bench import kinds
from bench.server import SETTINGS, OstiaryServer
from bench.wire import Connection, request
from bench.world import WRONG_PASSWORD, fresh_email, key_login, login, pre_login, registration

PROOFS_EACH = 5
"""Failed proofs of one address, known or not: fewer than close its door, which stays as it is in production."""
PAUSE_SECONDS = 0.01
"""After each: what it left behind must not be counted to the next."""
ECHO = request("GET", "/livez")
WRONG_KEY = "ab" * 32
MOST_LOCKED = 20
LOCKED = 429


@dataclass(frozen=True, slots=True)
class Question:
    """One operation; each arm is an endless row of requests."""

    name: str
    known: Iterator[bytes]
    unknown: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds of each request, and of the echo after it, by arm."""

    known: list[tuple[float, float]]
    unknown: list[tuple[float, float]]
    statuses: tuple[set[int], set[int]]


def auc(longer: list[float], shorter: list[float]) -> float:
    """The chance that one of the first is greater than one of the second; ties count half."""
    ranked = sorted([(value, 1) for value in longer] + [(value, 0) for value in shorter])
    total, position = 0.0, 0
    while position < len(ranked):
        after = position
        while after < len(ranked) and ranked[after][0] == ranked[position][0]:
            after += 1
        of_first = sum(arm for _, arm in ranked[position:after])
        total += of_first * (position + after + 1) / 2
        position = after
    pairs = len(longer) * len(shorter)
    return (total - len(longer) * (len(longer) + 1) / 2) / pairs


def by_chance(count: int) -> float:
    """How far from 0.5 an AUC of so many against so many gets in 95 of 100 runs when nothing is there."""
    return 1.96 * sqrt((2 * count + 1) / (12 * count * count))


def questions(server: OstiaryServer, variables: dict[str, str], count: int) -> list[Question]:
    """The operations whose answers must not tell, each for the kinds of accounts for which it differs behind the answer."""
    few = -(-count // PROOFS_EACH)
    known = kinds.put(server.directory / "data", variables, few)

    def both(name: str, ask: Callable[[str], bytes], *of_kinds: str) -> Iterator[Question]:
        for kind in of_kinds:
            strangers = [fresh_email() for _ in range(few)]
            yield Question(f"{name}: {kind}", map(ask, cycle(known[kind])), map(ask, cycle(strangers)))

    def locked(name: str, ask: Callable[[str], bytes], kind: str) -> Question:
        emails = known[kind][:MOST_LOCKED]
        strangers = [fresh_email() for _ in emails]
        lock(server.port, [ask(email) for email in (*emails, *strangers)])
        return Question(f"{name}: {kind}", map(ask, cycle(emails)), map(ask, cycle(strangers)))

    def fresh(registering: Callable[[str], bytes]) -> Iterator[bytes]:
        while True:
            yield registering(fresh_email())

    def mail(path: str) -> Callable[[str], bytes]:
        return lambda email: request("POST", path, {"email": email})

    def key_mail(path: str) -> Callable[[str], bytes]:
        return lambda email: request("GET", f"{path}?email={quote(email)}")

    def wrong_password(email: str) -> bytes:
        return login(email, WRONG_PASSWORD)

    def wrong_key(email: str) -> bytes:
        return key_login(email, WRONG_KEY)

    return [
        *both("login", wrong_password, "verified", "unverified", "banned", "federated"),
        locked("login", wrong_password, "locked"),
        Question("register: verified", map(registration, cycle(known["verified"])), fresh(registration)),
        *both("reset", mail("/api/auth/requestPasswordReset"), "verified", "federated"),
        *both("verification mail", mail("/api/user/verify/resend"), "verified", "unverified"),
        *both("key login", wrong_key, "key", "key unverified", "key banned", "key federated"),
        locked("key login", wrong_key, "key locked"),
        *both("pre-login", pre_login, "key"),
        *both("hint", key_mail("/api/auth/passwordHint"), "key"),
        *both("key mail", key_mail("/api/auth/resendVerificationEmail"), "key", "key unverified"),
    ]


def chosen(asked: list[Question], only: str) -> list[Question]:
    """Those whose name begins so."""
    return [question for question in asked if question.name.startswith(only)]


def lock(port: int, asks: list[bytes]) -> None:
    """Fail so often that the door is closed to this address."""
    with Connection(port) as connection:
        for ask in asks:
            while connection.timed(ask)[0].status != LOCKED:
                pass


def measure(connection: Connection, question: Question, count: int, settle: Callable[[], None]) -> Answer:
    """So many of each arm; which goes first is tossed."""
    connection.close()
    settle()
    toss = random.Random(1)
    found = Answer([], [], (set(), set()))
    arms = [(question.known, found.known, found.statuses[0]), (question.unknown, found.unknown, found.statuses[1])]
    for _ in range(count):
        for requests, seconds, statuses in toss.sample(arms, 2):
            reply, taken = connection.timed(next(requests))
            _, echo = connection.timed(ECHO)
            seconds.append((taken, echo))
            statuses.add(reply.status)
            time.sleep(PAUSE_SECONDS)
    return found


def row(name: str, found: Answer) -> str:
    """One line of the table."""
    (known, known_echo), (unknown, unknown_echo) = zip(*found.known, strict=True), zip(*found.unknown, strict=True)
    middles = "".join(f"{median(arm) * 1e3:>11.3f}" for arm in (known, unknown))
    middles_echo = "".join(f"{median(arm) * 1e3:>11.3f}" for arm in (known_echo, unknown_echo))
    same = "" if found.statuses[0] == found.statuses[1] else f"  STATUS DIFFERS: {found.statuses}"
    return (
        f"{name:<32}{middles}{auc(list(known), list(unknown)):>8.3f}"
        f"{middles_echo}{auc(list(known_echo), list(unknown_echo)):>8.3f}{same}"
    )


def main() -> None:
    """Start a server, ask, print."""
    parser = argparse.ArgumentParser(prog="bench.enumeration", description="Whether answer times tell who has an account.")
    parser.add_argument("--count", type=int, default=300, help="requests of each arm (%(default)s)")
    parser.add_argument("--cost", type=int, default=10, help="of bcrypt (%(default)s)")
    parser.add_argument(
        "--only", default="", metavar="ORACLE", help="answers whose name begins so: `login`, `key login: key locked`"
    )
    options = parser.parse_args()
    chance = by_chance(options.count)
    print(f"{options.count} known and {options.count} unknown addresses in random turns, bcrypt cost {options.cost}, one client")
    print(f"by chance alone the AUC is between {0.5 - chance:.3f} and {0.5 + chance:.3f} in 95 of 100 runs")
    print(f"{'medians in ms':<32}{'known':>11}{'unknown':>11}{'AUC':>8}{'echo known':>11}{'unknown':>11}{'AUC':>8}")
    # With verification required, registering and asking for another mail have something to do for some addresses alone.
    environment = {"BCRYPT_COST": str(options.cost), "EMAIL_VERIFICATION_REQUIRED": "true"}
    with OstiaryServer(environment) as server, Connection(server.port) as connection:
        print("bench: making accounts", file=sys.stderr)
        asked = questions(server, {**SETTINGS, **environment}, options.count)
        if not chosen(asked, options.only):
            parser.error(f"no answer's name begins with {options.only!r}: {', '.join(question.name for question in asked)}")
        for question in chosen(asked, options.only):
            print(row(question.name, measure(connection, question, options.count, server.settle)), flush=True)


if __name__ == "__main__":
    main()
