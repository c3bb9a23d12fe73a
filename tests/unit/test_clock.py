"""The clocks."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mc.clock import Clock, ManualClock, SystemClock
from mc.durations import Timestamper, format_time
from mc.errors import DurationError


class TestSystemClock:
    def test_it_tells_the_time_of_the_machine_in_utc(self) -> None:
        before = time.time()
        now = SystemClock().now()
        assert now.utcoffset() == timedelta(0)
        assert before - 1 <= now.timestamp() <= time.time() + 1
        assert before <= SystemClock().timestamp() <= time.time()

    def test_it_sleeps_through_the_system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept: list[float] = []
        monkeypatch.setattr(time, "sleep", slept.append)
        SystemClock().sleep(3)
        assert slept == [3]

    def test_its_async_sleep_lets_others_run(self) -> None:
        async def run() -> list[str]:
            order: list[str] = []

            async def other() -> None:
                order.append("other")

            task = asyncio.create_task(other())
            await SystemClock().asleep(0)
            order.append("done")
            await task
            return order

        assert asyncio.run(run()) == ["other", "done"]


class TestManualClock:
    def test_it_stands_still(self) -> None:
        clock = ManualClock()
        assert clock.now() == clock.now() == datetime(2000, 1, 1, tzinfo=UTC)
        assert clock.timestamp() == clock.now().timestamp()

    def test_it_is_set_and_moved(self) -> None:
        start = datetime(2030, 5, 6, tzinfo=UTC)
        clock = ManualClock(start)
        assert clock.advance(90) == clock.now() == start + timedelta(seconds=90)
        assert clock.advance(-90) == start

    def test_it_reads_durations_and_times_as_specs_write_them(self) -> None:
        clock = ManualClock()
        assert clock.advance("3d") == datetime(2000, 1, 4, tzinfo=UTC)
        assert clock.set("2030-01-02T05:04:05+02:00") == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert clock.set(datetime(2000, 1, 1, tzinfo=UTC)) == clock.now() == ManualClock().now()

    @pytest.mark.parametrize("time", ["tomorrow", "2030-01-02T03:04:05", datetime(2030, 1, 2)])  # noqa: DTZ001
    def test_a_time_without_a_zone_is_refused(self, time: datetime | str) -> None:
        clock = ManualClock()
        with pytest.raises(DurationError):
            clock.set(time)
        assert clock.now() == ManualClock().now()

    def test_sleeping_moves_it(self) -> None:
        clock = ManualClock()
        clock.sleep(60)
        asyncio.run(clock.asleep(30))
        assert clock.now() == ManualClock().now() + timedelta(seconds=90)

    def test_both_are_clocks(self) -> None:
        clocks: list[Clock] = [SystemClock(), ManualClock()]
        assert all(clock.now().tzinfo is not None for clock in clocks)


class TestTimestamper:
    @given(st.lists(st.floats(0, 4e9), min_size=1, max_size=5), st.floats(0, 3))
    @example([1.0], 0.9999995)
    @example([0.0], 1.9999995)
    def test_it_writes_what_format_time_writes(self, times: list[float], step: float) -> None:
        timestamper = Timestamper()
        for at in times:
            for moment in (at, at + step, at):
                written = datetime.fromisoformat(timestamper.format(moment))
                exact = datetime.fromtimestamp(moment, UTC)
                assert abs(written - exact) <= timedelta(microseconds=1)
                assert format_time(written) == timestamper.format(moment)

    def test_the_order_of_texts_is_the_order_of_times_around_a_full_second(self) -> None:
        timestamper = Timestamper()
        times = [1e9 + n / 10_000_000 for n in range(-30, 30)]
        texts = [timestamper.format(at) for at in times]
        assert texts == sorted(texts)
        assert {len(text) for text in texts} == {32}
