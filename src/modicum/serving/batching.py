"""Micro-batches: what several requests ask at the same time is answered together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from modicum.errors import ResourceError

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

_Waiting = tuple[Asked, "asyncio.Future[Answered]"]

LARGEST = 64
"""Requests of a batch at most."""


class Batcher(Generic[Asked, Answered]):
    """One thread that answers what has come in while it answered what came before.

    A lone request does not wait for others; under load, batches grow by themselves.

    Args:
        answer: answers a batch, in order; an exception in the place of an answer is raised by the
            request alone, one that is raised by all of the batch.
        largest: requests in a batch at most.

    >>> async def doubled() -> int:
    ...     with Batcher(lambda numbers: [number * 2 for number in numbers]) as batcher:
    ...         return await batcher.ask(4)
    >>> asyncio.run(doubled())
    8
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Answered | Exception]],
        *,
        largest: int = LARGEST,
    ) -> None:
        self.answer, self.largest = answer, largest
        self._waiting: SimpleQueue[_Waiting[Asked, Answered] | None] = SimpleQueue()
        self._gate, self._open = threading.Lock(), True
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def ask(self, asked: Asked) -> asyncio.Future[Answered]:
        """Return the answer to come; cancel it and it is not worked out if its turn has not come.

        Raises:
            ResourceError: the batcher is closed.
        """
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        with self._gate:
            if not self._open:
                raise ResourceError("the server is stopping; ask again later")
            self._waiting.put((asked, answer))
        return answer

    @property
    def waiting(self) -> int:
        """How many requests wait for their batch."""
        return self._waiting.qsize()

    def close(self) -> None:
        """Answer what has been asked, then stop."""
        with self._gate:
            if self._open:
                self._open = False
                self._waiting.put(None)
        self._thread.join()

    def __enter__(self) -> Batcher[Asked, Answered]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, last = [first], False
            while len(batch) < self.largest and not last:
                try:
                    following = self._waiting.get_nowait()
                except Empty:
                    break
                last = following is None
                if following is not None:
                    batch.append(following)
            self._answer([waiting for waiting in batch if not waiting[1].cancelled()])
            if last:
                return

    def _answer(self, batch: list[_Waiting[Asked, Answered]]) -> None:
        if not batch:
            return
        answers: Sequence[Answered | Exception]
        try:
            answers = self.answer([asked for asked, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        pairs = [(done, answer) for (_, done), answer in zip(batch, answers, strict=True)]
        for loop in {done.get_loop() for done, _ in pairs}:
            own = [pair for pair in pairs if pair[0].get_loop() is loop]
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_deliver, own)


def _deliver(pairs: Sequence[tuple[asyncio.Future[Answered], Answered | Exception]]) -> None:
    for done, answer in pairs:
        if done.done():
            continue
        if isinstance(answer, Exception):
            done.set_exception(answer)
        else:
            done.set_result(answer)
