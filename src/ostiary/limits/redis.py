"""Counters in Redis, shared between processes and nodes.

While Redis does not answer, this process counts for itself with a third of each capacity: never unlimited, never a failure.
Nothing that must survive Redis lives here: bans, sessions and spent codes are rows.
"""

from __future__ import annotations

from hashlib import blake2b

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from ostiary.limits.memory import MemoryLimits
from ostiary.limits.store import Rule, Taken, Wanted, judged
from ostiary.observability.logging import log

SOCKET_SECONDS = 0.5
CONNECTIONS = 16
FALLBACK_SHARE = 3
RETRY_AFTER = 2 * 1_000_000
"""How long a Redis that failed is left alone, microseconds."""

# One round trip for all keys, atomic: each of them counts, or none. What the steps mean is said in `limits.store`.
_COUNT = """
local now, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local found, answers, fits = {}, {}, true
for i, key in ipairs(KEYS) do
  local capacity, period, kind = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), ARGV[3 * i + 2]
  local used, since = 0, now
  local kept = redis.call('HMGET', key, 'used', 'since')
  if kept[1] then
    used, since = tonumber(kept[1]), tonumber(kept[2])
    local elapsed = now - since
    if elapsed < 0 then
      since = now
      redis.call('HSET', key, 'since', string.format('%d', now))
    elseif kind == 'window' then
      if elapsed >= period then used, since = 0, now end
    else
      used, since = math.max(0, used - elapsed * capacity / period), now
    end
  end
  used = used + cost
  if used > capacity then fits = false end
  found[i] = {key, used, since, period}
  answers[2 * i - 1], answers[2 * i] = tostring(used), string.format('%d', since)
end
for _, each in ipairs(found) do
  if fits and each[2] == 0 then
    redis.call('DEL', each[1])
  elseif fits and each[2] > 0 then
    redis.call('HSET', each[1], 'used', tostring(each[2]), 'since', string.format('%d', each[3]))
    redis.call('PEXPIRE', each[1], math.ceil(each[4] / 1000) + 1000)
  end
end
return answers
"""


class RedisLimits:
    """See `LimitStore`. Keys are stored as digests under `secret`: whoever reads Redis learns no names and no addresses."""

    def __init__(self, url: str, secret: bytes = b"") -> None:
        # A crowd waits its turn for a connection: opening one for each of it would take longer.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=2 * SOCKET_SECONDS,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
        )
        self._redis = Redis.from_pool(pool)
        self._script = self._redis.register_script(_COUNT)
        self._secret = secret
        self._local = MemoryLimits()
        self._failed_at = -RETRY_AFTER

    def __len__(self) -> int:
        """How many keys this process counts for itself."""
        return len(self._local)

    @property
    def pushed_out(self) -> int:
        """How many of those had to make room before their time."""
        return self._local.pushed_out

    async def take(self, rule: Rule, key: str, now: int) -> Taken:
        return (await self.take_each([(rule, key)], now))[0]

    async def take_each(self, wanted: Wanted, now: int) -> list[Taken]:
        found = await self._count(wanted, now, 1)
        if found is None:
            return await self._local.take_each(_thirds(wanted), now)
        return [judged(rule, used, now - since, now) for (rule, _), (used, since) in zip(wanted, found, strict=True)]

    async def give_back(self, rule: Rule, key: str, now: int) -> None:
        await self.give_back_each([(rule, key)], now)

    async def give_back_each(self, wanted: Wanted, now: int) -> None:
        if await self._count(wanted, now, -1) is None:
            await self._local.give_back_each(_thirds(wanted), now)

    async def forget(self, rule: Rule, key: str) -> None:
        await self._local.forget(rule, key)
        try:
            await self._redis.delete(self._name(rule, key))
        except (RedisError, OSError) as error:
            log.warning("limits:redis_unavailable", error=type(error).__name__)

    async def ping(self) -> None:
        await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    async def _count(self, wanted: Wanted, now: int, cost: int) -> list[tuple[float, int]] | None:
        if 0 <= now - self._failed_at < RETRY_AFTER:
            return None
        keys = [self._name(rule, key) for rule, key in wanted]
        given = [value for rule, _ in wanted for value in (rule.capacity, rule.period, rule.kind)]
        try:
            answer = await self._script(keys, [now, cost, *given])
        except (RedisError, OSError) as error:
            self._failed_at = now
            log.warning("limits:redis_unavailable", error=type(error).__name__)
            return None
        return [(float(answer[2 * at]), int(answer[2 * at + 1])) for at in range(len(wanted))]

    def _name(self, rule: Rule, key: str) -> str:
        return (
            f"ostiary:{rule.name}:{blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=16, key=self._secret).hexdigest()}"
        )


def _thirds(wanted: Wanted) -> Wanted:
    return [
        (Rule(rule.name, max(1, rule.capacity // FALLBACK_SHARE), rule.period, rule.kind, rule.guards), key)
        for rule, key in wanted
    ]
