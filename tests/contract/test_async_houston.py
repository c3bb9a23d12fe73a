"""The facade for asyncio does what the facade does, on each database, several things at once."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from mc.async_houston import AsyncHouston
from mc.errors import ControlError, FlowError, FlowNotFoundError
from mc.houston import Houston

T = TypeVar("T")

SPEC = {"tasks": [{"key": "a", "task_type": "noop"}]}
MEET = {"tasks": [{"key": "a", "task_type": "meet"}]}
METHODS = sorted(
    name
    for name in dir(Houston)
    if not name.startswith("_") and inspect.isfunction(getattr(Houston, name)) and name != "stop"
)


def with_houston(url: str, work: Callable[[AsyncHouston], Awaitable[T]], **options: Any) -> T:
    """Run a coroutine function with a facade that is closed afterwards."""

    async def main() -> T:
        async with AsyncHouston(url, **options) as houston:
            return await asyncio.wait_for(work(houston), 60)

    return asyncio.run(main())


class TestItsMethods:
    @pytest.mark.parametrize("name", METHODS)
    def test_each_method_is_there_to_be_awaited_and_takes_the_same(self, name: str) -> None:
        method, twin = getattr(Houston, name), getattr(AsyncHouston, name)
        assert inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin) == inspect.signature(method)
        assert twin.__doc__ == method.__doc__

    def test_it_has_no_other_methods(self) -> None:
        own = {name for name in vars(AsyncHouston) if not name.startswith("_")}
        assert own == {*METHODS, "call", "from_settings", "stop"}


class TestSeveralAtOnce:
    def test_submissions_are_all_stored(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> list[str]:
            keys = [f"f{number}" for number in range(20)]
            assert await asyncio.gather(*(houston.submit(SPEC, key=key) for key in keys)) == keys
            return sorted(summary.key for summary in await houston.list())

        assert with_houston(shared_url, work) == sorted(f"f{number}" for number in range(20))

    def test_runs_await_their_coroutine_handlers_at_the_same_time(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> list[str]:
            together = asyncio.Barrier(3)
            houston.houston.engine.registry.register("meet", together.wait)
            flows = await asyncio.gather(*(houston.run(MEET, key=key) for key in "abc"))
            return [flow.status for flow in flows]

        assert with_houston(shared_url, work) == ["COMPLETED"] * 3

    def test_reading_and_acting_go_on_beside_a_run(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> None:
            begun, done = asyncio.Event(), asyncio.Event()

            async def meet() -> None:
                begun.set()
                await done.wait()

            houston.houston.engine.registry.register("meet", meet)
            wait = {"key": "b", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}
            running = asyncio.create_task(houston.run({"tasks": [*MEET["tasks"], wait]}, key="f"))
            await begun.wait()
            flow, is_new = await asyncio.gather(houston.load("f"), houston.signal("f", "go", 5))
            assert (flow.status, is_new) == ("PENDING", True)  # as it was saved last
            done.set()
            assert (await running).tasks["b"]["data"]["signal"] == 5

        with_houston(shared_url, work)

    def test_the_store_is_made_once(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> list[Any]:
            return await asyncio.gather(*(houston.call(lambda parts: parts.store) for _ in range(20)))

        assert len({id(store) for store in with_houston(shared_url, work)}) == 1

    def test_an_error_passes_through_and_leaves_the_others_alone(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> list[Any]:
            await houston.submit(SPEC, key="f")
            return await asyncio.gather(
                houston.load("nowhere"),
                houston.summary("f"),
                houston.resume("f", by="ada"),
                return_exceptions=True,
            )

        missing, summary, refused = with_houston(shared_url, work)
        assert isinstance(missing, FlowNotFoundError)
        assert summary.status == "PENDING"
        assert isinstance(refused, ControlError)


class TestCancellation:
    def test_a_call_is_done_to_its_end_first(self, shared_url: str) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def submit(houston: Houston) -> str:
            begun.set()
            assert go_on.wait(30)
            return houston.submit(SPEC, key="f")

        async def work(houston: AsyncHouston) -> str:
            submitting = asyncio.create_task(houston.call(submit))
            await asyncio.to_thread(begun.wait, 30)
            submitting.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            assert not submitting.done()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            return (await houston.summary("f")).status

        assert with_houston(shared_url, work) == "PENDING"

    def test_what_it_raised_is_the_cause(self, shared_url: str) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def fail(houston: Houston) -> None:
            begun.set()
            assert go_on.wait(30)
            houston.load("nowhere")

        async def work(houston: AsyncHouston) -> BaseException | None:
            failing = asyncio.create_task(houston.call(fail))
            await asyncio.to_thread(begun.wait, 30)
            failing.cancel()
            await asyncio.sleep(0)
            go_on.set()
            with pytest.raises(asyncio.CancelledError) as caught:
                await failing
            return caught.value.__cause__

        assert isinstance(with_houston(shared_url, work), FlowNotFoundError)

    def test_a_run_gives_its_flow_back_and_can_be_taken_up_again(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> str:
            begun, calls = asyncio.Event(), 0

            async def meet() -> None:
                nonlocal calls
                calls += 1
                begun.set()
                if calls == 1:
                    await asyncio.Event().wait()

            houston.houston.engine.registry.register("meet", meet)
            running = asyncio.create_task(houston.run(MEET, key="f"))
            await begun.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not await houston.call(lambda parts: parts.store.is_held(family_of="f"))
            return (await houston.run(MEET, key="f")).status

        assert with_houston(shared_url, work) == "COMPLETED"


class TestTicks:
    def test_a_tick_advances_what_is_due(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> int:
            await houston.submit(SPEC)
            return (await houston.tick(max_flows=3)).completed

        assert with_houston(shared_url, work) == 1

    def test_a_loop_goes_on_until_it_is_stopped(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> int:
            async def end() -> None:
                houston.stop()

            houston.houston.engine.registry.register("meet", end)
            await houston.submit(MEET)
            return (await houston.loop(interval=0.01, handle_signals=False)).completed

        assert with_houston(shared_url, work) == 1

    def test_a_flow_that_failed_is_raised_on_request(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> None:
            assert (await houston.run(MEET, key="f")).status == "FAILED"
            with pytest.raises(FlowError, match="Flow 'f' failed"):
                await houston.run(MEET, key="f", raise_on_failure=True)

        with_houston(shared_url, work, task_handlers={"meet": lambda: 1 / 0})

    def test_a_block_closes_the_store(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> Houston:
            await houston.submit(SPEC)
            return houston.houston

        assert "store" not in vars(with_houston(shared_url, work))

    def test_resources_are_reached_by_a_call(self, shared_url: str) -> None:
        async def work(houston: AsyncHouston) -> list[str]:
            await houston.call(lambda parts: parts.resources.set("db", slots=3))
            return [each.name for each in await houston.call(lambda parts: parts.resources.list())]

        assert with_houston(shared_url, work) == ["db"]
