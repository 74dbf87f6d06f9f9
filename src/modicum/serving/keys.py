"""Who may ask: keys of which only hashes are kept."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path

from modicum.errors import SettingError

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
LINE = re.compile(rf"({NAME.pattern}):([0-9a-f]{{64}})")


class Keys:
    """The keys in a file of lines ``name:hash``, read again when the file changes.

    A key is 256 random bits, so that its plain SHA-256 tells nothing of it.

    Args:
        path: of the file.

    Raises:
        SettingError: there is no such file, it holds no key, or a line is no name with a hash.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._read = self._stamp()
        self._hashes = _hashes(self.path)

    def holder(self, key: str) -> str | None:
        """Return the name of who holds a key, after comparing it with every one in constant time."""
        asked, found = _hash(key), None
        for name, kept in self._hashes.items():
            if hmac.compare_digest(asked, kept):
                found = name
        return found

    def refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            SettingError: it is not as it should be; the keys from before still hold.
        """
        stamp = self._stamp()
        if stamp != self._read:
            self._read = stamp
            self._hashes = _hashes(self.path)

    def _stamp(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            return ()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def add(path: Path, name: str) -> str:
    """Add a key under a name to a file, made if it is not there, and return the key.

    Raises:
        SettingError: the name is no name, or it is taken.

    >>> from tempfile import mkdtemp
    >>> file = Path(mkdtemp()) / "keys"
    >>> key = add(file, "shop")
    >>> Keys(file).holder(key), Keys(file).holder("another")
    ('shop', None)
    """
    if not NAME.fullmatch(name):
        raise SettingError(
            f"name={name!r} is no name for a key: use up to 64 letters, digits, dots, dashes"
        )
    hashes = _hashes(path) if path.exists() else {}
    if name in hashes:
        raise SettingError(f"{path} holds a key named {name!r} already; remove it first")
    key = secrets.token_urlsafe(32)
    _write(path, hashes | {name: _hash(key)})
    return key


def remove(path: Path, name: str) -> None:
    """Take the key of a name out of a file.

    Raises:
        SettingError: the file does not hold it.
    """
    hashes = _hashes(path)
    if name not in hashes:
        raise SettingError(f"{path} holds no key named {name!r}; it has {', '.join(hashes)}")
    _write(path, {other: kept for other, kept in hashes.items() if other != name})


def names(path: Path) -> list[str]:
    """Return the names of the keys in a file."""
    return [*_hashes(path)]


def _hash(key: str) -> str:
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def _hashes(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise SettingError(
            f"the keys in {path} cannot be read ({error}); make one with: modicum keys add NAME"
        ) from None
    found = [LINE.fullmatch(line) for line in lines]
    for number, line in enumerate(found, start=1):
        if line is None:
            raise SettingError(f"{path}, line {number} is not NAME:HASH; mend or delete it")
    return {line[1]: line[2] for line in found if line}


def _write(path: Path, hashes: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.touch(mode=0o600)
    aside.write_text("".join(f"{name}:{kept}\n" for name, kept in hashes.items()), "utf-8")
    aside.replace(path)
