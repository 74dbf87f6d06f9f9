"""Ctrl-C, held back while a batch is under way."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class Interrupts:
    """Hold a Ctrl-C back until the end, so that no batch is left half done.

    A second Ctrl-C interrupts at once. Where Ctrl-C would not raise KeyboardInterrupt, in a thread
    or under another handler, nothing is held.

    >>> with Interrupts() as interrupts:
    ...     interrupts.held
    False
    """

    def __enter__(self) -> Self:
        self.held = False
        self._holds = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._holds:
            signal.signal(signal.SIGINT, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._holds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if kind is None and self.held:
            raise KeyboardInterrupt

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.held:
            raise KeyboardInterrupt
        self.held = True
