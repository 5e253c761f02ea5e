"""Counters in Redis, shared between processes and nodes.

While Redis does not answer, this process counts for itself with a third of each capacity: never unlimited, never a failure.
Nothing that must survive Redis lives here: bans, sessions and spent codes are rows.
"""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ostiary.limits.memory import MemoryLimits
from ostiary.limits.store import Rule, Taken, judged
from ostiary.observability.logging import log

SOCKET_SECONDS = 0.5
FALLBACK_SHARE = 3
RETRY_AFTER = 2 * 1_000_000
"""How long a Redis that failed is left alone, microseconds."""

# One round trip, atomic. Keeps `used` and `since` of a key; see `MemoryLimits` for the meaning of each step.
_TAKE = """
local used, since = 0, tonumber(ARGV[1])
local now, capacity, period, kind = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local kept = redis.call('HMGET', KEYS[1], 'used', 'since')
if kept[1] then
  used, since = tonumber(kept[1]), tonumber(kept[2])
  local elapsed = now - since
  if elapsed < 0 then since = now
  elseif kind == 'window' then
    if elapsed >= period then used, since = 0, now end
  else
    used, since = math.max(0, used - elapsed * capacity / period), now
  end
end
local counted = used + tonumber(ARGV[5])
if counted < 0 then counted = 0 end
if not (kind == 'bucket' and counted > capacity) then used = counted end
redis.call('HSET', KEYS[1], 'used', tostring(used), 'since', string.format('%d', since))
redis.call('PEXPIRE', KEYS[1], math.ceil(period / 1000) + 1000)
return {tostring(counted), string.format('%d', since)}
"""


class RedisLimits:
    """See `LimitStore`."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS)
        self._script = self._redis.register_script(_TAKE)
        self._local = MemoryLimits()
        self._failed_at = -RETRY_AFTER

    async def take(self, rule: Rule, key: str, now: int) -> Taken:
        answer = await self._count(rule, key, now, 1)
        if answer is None:
            return await self._local.take(_third(rule), key, now)
        used, since = answer
        return judged(rule, used, now - since, now)

    async def give_back(self, rule: Rule, key: str, now: int) -> None:
        if await self._count(rule, key, now, -1) is None:
            await self._local.give_back(_third(rule), key, now)

    async def forget(self, rule: Rule, key: str) -> None:
        await self._local.forget(_third(rule), key)
        try:
            await self._redis.delete(_name(rule, key))
        except (RedisError, OSError) as error:
            log.warning("limits:redis_unavailable", error=type(error).__name__)

    async def ping(self) -> None:
        await self._redis.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    async def _count(self, rule: Rule, key: str, now: int, cost: int) -> tuple[float, int] | None:
        if 0 <= now - self._failed_at < RETRY_AFTER:
            return None
        try:
            used, since = await self._script([_name(rule, key)], [now, rule.capacity, rule.period, rule.kind, cost])
        except (RedisError, OSError) as error:
            self._failed_at = now
            log.warning("limits:redis_unavailable", error=type(error).__name__)
            return None
        return float(used), int(since)


def _name(rule: Rule, key: str) -> str:
    return f"ostiary:{rule.name}:{key}"


def _third(rule: Rule) -> Rule:
    return Rule(rule.name, max(1, rule.capacity // FALLBACK_SHARE), rule.period, rule.kind)
