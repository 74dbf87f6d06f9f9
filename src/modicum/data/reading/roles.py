"""Roles by column name: which column of a table holds users, items, times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from modicum.errors import DataError, nearest

DEFAULTS = {"user": "user_id", "item": "item_id", "time": "timestamp", "value": "rating"}
"""Role -> the column it is read from when the caller names none."""

KNOWN = {
    "user": (
        *("userid", "user", "uid", "username", "reviewerid", "visitorid", "customerid"),
        *("customer", "memberid", "sessionid", "session", "accountid", "clientid", "visitor"),
    ),
    "item": (
        *("itemid", "item", "iid", "asin", "parentasin", "sku", "productid", "product"),
        *("movieid", "articleid", "bookid", "songid", "trackid", "videoid", "newsid"),
        *("businessid", "contentid", "goodsid", "adid"),
    ),
    "time": (
        *("timestamp", "time", "ts", "datetime", "date", "eventtime", "eventtimestamp"),
        *("unixreviewtime", "reviewtime", "createdat", "occurredat", "timestampms", "tdat"),
    ),
    "value": ("rating", "ratings", "value", "stars", "overall", "score", "grade"),
}
"""Role -> known column names, likeliest first; letter case, ``_`` and ``:type`` do not matter."""


class GuessWarning(UserWarning):
    """A column was taken for a role because of its name, without having been named."""


def assign(
    names: Sequence[str],
    asked: Mapping[str, str | Sequence[str] | None],
    source: str,
    required: Sequence[str] = ("user", "item"),
) -> tuple[dict[str, list[int]], list[str]]:
    """Return role -> positions of its columns, and one sentence for each guess.

    Args:
        names: column names of the table, in order; a name may occur twice.
        asked: role -> column name, several names (items as sequences only), or None.
        source: where the table came from, for messages.
        required: roles that cannot be None.

    Raises:
        DataError: a column is absent, named twice in the table, or used for two roles.

    >>> assign(["uid", "asin", "rating"], {"user": "user_id", "item": "asin"}, "example")
    ({'user': [0], 'item': [1]}, ["column 'uid' was taken for user, as there is no 'user_id'"])
    """
    guesses: list[str] = []
    roles: dict[str, list[int]] = {}
    for role, wanted in asked.items():
        if wanted is None and role not in required:
            continue
        columns: list[Any] = [wanted]
        if role == "item" and isinstance(wanted, list | tuple):
            columns = list(wanted)
        if not columns or not all(isinstance(column, str) for column in columns):
            raise DataError(
                f"{role}={wanted!r} must be the name of a column of {source}; "
                f"columns: {', '.join(names)}"
            )
        if columns == [DEFAULTS.get(role)] and columns[0] not in names:
            columns = _guess(role, names)
            if columns:
                guesses.append(
                    f"column {columns[0]!r} was taken for {role}, as there is no {DEFAULTS[role]!r}"
                )
            elif role == "time":
                continue
            else:
                raise DataError(
                    f"{source} has no column {DEFAULTS[role]!r} and none that looks like {role}s; "
                    f"name it with {role}=...; columns: {', '.join(names)}"
                )
        roles[role] = [_position(column, role, names, source) for column in columns]
    used: dict[int, str] = {}
    for role, positions in roles.items():
        for at in positions:
            if at in used:
                raise DataError(
                    f"column {names[at]!r} of {source} is used for {used[at]} and for {role}; "
                    "each role needs its own column"
                )
            used[at] = role
    return roles, guesses


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.split(":")[0].lower())


def _guess(role: str, names: Sequence[str]) -> list[str]:
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    return [plain[known] for known in KNOWN[role] if known in plain][:1]


def _position(column: str, role: str, names: Sequence[str], source: str) -> int:
    count = list(names).count(column)
    if count == 0:
        raise DataError(
            f"{source} has no column {column!r} (asked for as {role}); {nearest(column, names)}"
        )
    if count > 1:
        raise DataError(
            f"{source} has {count} columns named {column!r} (asked for as {role}); "
            "rename them so that each name occurs once"
        )
    return list(names).index(column)
