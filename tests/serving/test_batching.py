"""Batches grow under load, and each request fails for itself."""

import asyncio
import threading

import pytest

from modicum.errors import ResourceError
from modicum.serving.batching import Batcher


def test_what_waits_is_answered_together_in_order():
    sizes, gate = [], threading.Event()

    def answer(numbers):
        gate.wait()
        sizes.append(len(numbers))
        return [number * 2 for number in numbers]

    async def ask_nine():
        with Batcher(answer, largest=4) as batcher:
            asked = [batcher.ask(number) for number in range(9)]
            assert batcher.waiting >= 5
            gate.set()
            return await asyncio.gather(*asked)

    assert asyncio.run(ask_nine()) == [number * 2 for number in range(9)]
    assert sum(sizes) == 9 and max(sizes) == 4


def test_one_that_fails_fails_alone():
    async def ask_three():
        errors = lambda numbers: [KeyError(x) if x == 0 else 1 / x for x in numbers]  # noqa: E731
        with Batcher(errors) as batcher:
            asked = [batcher.ask(number) for number in (1, 0, 2)]
            return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = asyncio.run(ask_three())
    assert (first, third) == (1, 0.5) and isinstance(second, KeyError)


def test_a_batch_that_fails_is_told_to_all_and_the_next_one_is_answered():
    async def ask_twice():
        broken = iter([True, False])

        def answer(numbers):
            if next(broken):
                raise ZeroDivisionError
            return numbers

        with Batcher(answer) as batcher:
            with pytest.raises(ZeroDivisionError):
                await batcher.ask(1)
            return await batcher.ask(2)

    assert asyncio.run(ask_twice()) == 2


def test_a_cancelled_request_is_not_worked_out():
    seen, gate = [], threading.Event()

    def answer(numbers):
        gate.wait()
        seen.extend(numbers)
        return numbers

    async def ask_and_leave():
        with Batcher(answer, largest=1) as batcher:
            first, second = batcher.ask(1), batcher.ask(2)
            assert second.cancel()
            gate.set()
            return await first

    assert asyncio.run(ask_and_leave()) == 1
    assert seen == [1]


def test_closing_answers_what_was_asked_and_refuses_the_rest():
    async def ask_and_close():
        batcher = Batcher(lambda numbers: numbers)
        asked = [batcher.ask(number) for number in range(50)]
        batcher.close()
        batcher.close()
        with pytest.raises(ResourceError, match="stopping"):
            batcher.ask(1)
        return await asyncio.gather(*asked)

    assert asyncio.run(ask_and_close()) == list(range(50))


def test_answers_for_a_loop_that_is_gone_are_dropped():
    gate = threading.Event()

    async def ask_and_go(batcher):
        batcher.ask(1)

    async def ask(batcher):
        return await batcher.ask(2)

    with Batcher(lambda numbers: gate.wait() and numbers) as batcher:
        asyncio.run(ask_and_go(batcher))
        gate.set()
        assert asyncio.run(ask(batcher)) == 2
