"""Histories in a Redis or Valkey server: for several serving processes."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from modicum.errors import MissingExtraError, SettingError, StoreError
from modicum.serving.store import KEPT, TIMEOUT_S, Event, HistoryStore

ARRIVAL, USERS = "modicum:arrival", "modicum:users"
"""A counter of events, and all users (a sorted set, in the order of their ids)."""

READ_AT_ONCE = 100
"""Users whose events are fetched together."""

POLL_S = 0.02
"""How often to ask whether the server has rewritten its log."""

# A user has two keys: events in order (a sorted set by time; a member is the number of arrival in
# 16 digits, then the id as JSON, a line feed, and the rest as JSON) and ids (a set of ids as JSON).
# What fails because a key is not ours fails in the first lines, before anything is written.
APPEND = """
local arrival, users, kept = KEYS[1], KEYS[2], tonumber(ARGV[1])
redis.call('ZCARD', users)
for at = 3, #KEYS, 2 do
    redis.call('ZCARD', KEYS[at])
    redis.call('SCARD', KEYS[at + 1])
end
local sent = (#ARGV - 1) / 5
local last, new = redis.call('INCRBY', arrival, sent), 0
for event = 1, sent do
    local user, key, time, id, rest = unpack(ARGV, event * 5 - 3, event * 5 + 1)
    local order, ids = KEYS[tonumber(key)], KEYS[tonumber(key) + 1]
    if redis.call('SADD', ids, id) == 1 then
        local number = string.format('%016.0f', last - sent + event)
        redis.call('ZADD', order, time, number .. id .. '\\n' .. rest)
        redis.call('ZADD', users, 0, user)
        new = new + 1
    end
end
for at = 3, #KEYS, 2 do
    local old = redis.call('ZCARD', KEYS[at]) - kept
    if old > 0 then
        for _, member in ipairs(redis.call('ZRANGE', KEYS[at], 0, old - 1)) do
            local stop = string.find(member, '\\n', 17, true)
            redis.call('SREM', KEYS[at + 1], string.sub(member, 17, stop - 1))
        end
        redis.call('ZREMRANGEBYRANK', KEYS[at], 0, old - 1)
    end
end
return new
"""
ERASE = """
local events = redis.call('ZCARD', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
return events
"""


class RedisStore(HistoryStore):
    """A store in a Redis or Valkey server with an append-only file.

    An append is one script, which the server runs alone and writes to its log as one. Whether the
    log is on disk when it answers is the server's setting: with ``appendfsync always`` it is, and
    otherwise a warning says what may be lost.

    Args:
        url: of the server, ``redis://user:password@host:6379/0`` or ``unix:///path?db=0``; special
            characters of a password are percent-encoded.
        kept: events of a user that are kept, the latest; older ones are deleted.
        timeout_s: how long a call may take before it fails.

    Raises:
        StoreError: the server does not answer, or would lose what it acknowledged.
        SettingError: the url cannot be read, or nothing is to be kept.
        MissingExtraError: the extra ``serve`` is not installed.
    """

    def __init__(self, url: str, *, kept: int = KEPT, timeout_s: float = TIMEOUT_S) -> None:
        if kept < 1:
            raise SettingError(f"kept={kept} must be 1 or more")
        try:
            valkey: Any = import_module("valkey")
            retry: Any = import_module("valkey.retry")
            backoff: Any = import_module("valkey.backoff")
        except ImportError:
            raise MissingExtraError("serve", "valkey", "A history store in Redis") from None
        self.kept, self.timeout_s = kept, timeout_s
        self._place, self._open = without_secrets(url), True
        self._errors, self._refusal = valkey.ValkeyError, valkey.ResponseError
        # A connection may have been closed by a restart of the server: then a new one is tried.
        again = retry.Retry(backoff.NoBackoff(), 1, (valkey.ConnectionError,))
        wait = {"socket_timeout": timeout_s / 2, "socket_connect_timeout": timeout_s / 2}
        try:
            self._server = valkey.Valkey.from_url(url, retry=again, **wait)
            self._append = self._server.register_script(APPEND)
            self._erase = self._server.register_script(ERASE)
            self._require_log()
        except (ValueError, TypeError):  # their messages may hold parts of the password
            raise SettingError(
                "the url of the history store cannot be read; write it as "
                "redis://user:password@host:6379/0, special characters percent-encoded"
            ) from None
        self._tell_durability()

    def append(self, events: Sequence[Event]) -> int:
        if not events:
            return 0
        keys, places, values = [ARRIVAL, USERS], {}, [str(self.kept)]
        for event in events:
            user, name, _, when, domain, behaviour = event.row()
            if user not in places:
                places[user] = len(keys) + 1
                keys += _keys(user)
            rest = json.dumps([event.item, domain, behaviour])
            values += [user, str(places[user]), repr(when), json.dumps(name), rest]
        with self._told():
            return int(self._append(keys, values))

    def history(self, user: str, latest: int) -> list[Event]:
        if latest < 1:
            return []
        with self._told():
            found = self._server.zrange(_keys(user)[0], -latest, -1, withscores=True)
        return [_event(user, member, when) for member, when in found]

    def erase(self, user: str) -> int:
        with self._told():
            erased = int(self._erase([USERS, *_keys(user)], [user]))
        self._rewrite_log()
        return erased

    def events(self) -> Iterator[Event]:
        after = "-"
        while True:
            with self._told():
                found = self._server.zrangebylex(USERS, after, "+", 0, READ_AT_ONCE)
                users = [user.decode() for user in found]
                together = self._server.pipeline(transaction=False)
                for user in users:
                    together.zrange(_keys(user)[0], 0, -1, withscores=True)
                histories = together.execute()
            if not users:
                return
            for user, history in zip(users, histories, strict=True):
                for member, when in history:
                    yield _event(user, member, when)
            after = f"({users[-1]}"

    def check(self) -> None:
        self._require_log()
        with self._told():
            self._server.incrby(ARRIVAL, 0)

    def close(self) -> None:
        self._open = False
        self._server.close()

    def _require_log(self) -> None:
        """See that the server logs what it acknowledges and does not throw it away."""
        with self._told():
            facts = self._server.info()
        if not facts.get("aof_enabled"):
            raise StoreError(
                f"the server of the history store {self._place} keeps no append-only file, and "
                "forgets in a crash what it acknowledged; start it with --appendonly yes "
                "--appendfsync always"
            )
        policy = str(facts.get("maxmemory_policy"))
        if facts.get("maxmemory") and policy.startswith("allkeys"):
            raise StoreError(
                f"the server of the history store {self._place} drops histories when its memory "
                f"is full (maxmemory-policy {policy}); set it to noeviction"
            )

    def _tell_durability(self) -> None:
        """Warn unless the log is on disk before the server answers."""
        try:
            with self._told():
                setting = self._server.config_get("appendfsync").get("appendfsync")
        except StoreError:
            setting = None
        if setting != "always":
            known = f"has appendfsync {setting}" if setting else "does not tell its appendfsync"
            warnings.warn(
                f"the server of the history store {self._place} {known}: if it crashes, the last "
                "seconds of acknowledged events can be lost; set appendfsync to always",
                stacklevel=3,
            )

    def _rewrite_log(self) -> None:
        """Have the server write its log anew, without what was erased; it goes on by itself."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                with self._told():
                    self._server.bgrewriteaof()
                return
            except StoreError as error:
                if "in progress" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise StoreError(
                        "the user is erased, but the server rewrites its log already and may "
                        "still hold the events there; erase again in a while"
                    ) from None
            time.sleep(POLL_S)

    @contextmanager
    def _told(self) -> Iterator[None]:
        if not self._open:
            raise StoreError(f"the history store {self._place} is closed")
        try:
            yield
        except (self._errors, OSError, UnicodeError) as error:
            # A refusal may quote what was sent.
            reason = str(error).partition(", with args")[0].splitlines()[:1]
            raise StoreError(
                f"the history store {self._place} failed ({''.join(reason)}); check the server"
            ) from None


def without_secrets(url: str) -> str:
    """Return where a url leads, without user, password and options.

    >>> without_secrets("redis://ann:secret@db:6379/0?ssl_password=secret")
    'redis://db:6379/0'
    >>> without_secrets("unix:///run/redis.sock?password=se@cret")
    'unix://'
    """
    scheme, _, rest = url.partition("://")
    place, *options = re.split("[?#]", rest, maxsplit=1)
    if any("@" in option for option in options):  # the password may have begun before
        return f"{scheme}://"
    return f"{scheme}://{place.rpartition('@')[2]}"


def _keys(user: str) -> tuple[str, str]:
    return f"modicum:events:{user}", f"modicum:ids:{user}"


def _event(user: str, member: bytes, when: float) -> Event:
    name, rest = member[16:].split(b"\n")
    item, domain, behaviour = json.loads(rest)
    return Event(json.loads(name), user, item, when, domain, behaviour)
