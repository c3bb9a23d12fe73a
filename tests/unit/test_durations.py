from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.durations import (
    MAX_DURATION_SECONDS,
    format_duration,
    format_time,
    parse_duration,
    parse_moment,
    parse_time,
)
from mc.errors import DurationError

aware_times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)


class TestParseDuration:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (90, 90.0),
            (1.5, 1.5),
            (0, 0.0),
            ("0s", 0.0),
            ("500ms", 0.5),
            ("45s", 45.0),
            ("15m", 900.0),
            ("1h30m", 5400.0),
            ("1.5h", 5400.0),
            ("2d", 172_800.0),
            ("1w", 604_800.0),
            ("1m5ms", 60.005),
            ("1w2d3h4m5s6ms", 788_645.006),
            ("PT15M", 900.0),
            ("PT1.5H", 5400.0),
            ("P1DT2H", 93_600.0),
            ("P2W", 1_209_600.0),
        ],
    )
    def test_each_written_form_gives_its_seconds(self, value: object, seconds: float) -> None:
        assert seconds == parse_duration(value)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            " ",
            "90",
            "15M",
            "15 m",
            "m",
            "1h1h",
            "30m1h",
            "1.h",
            ".5h",
            "-5s",
            "１m",
            "P",
            "PT",
            "P1DT",
            "pt1m",
        ],
    )
    def test_other_texts_are_refused_with_the_forms_that_are_taken(self, value: str) -> None:
        with pytest.raises(DurationError, match="15m") as caught:
            parse_duration(value)
        assert repr(value) in caught.value.message

    @pytest.mark.parametrize("value", ["P1Y", "P1M", "P1Y2M3DT4H"])
    def test_years_and_months_are_refused_because_they_have_no_fixed_length(self, value: str) -> None:
        with pytest.raises(DurationError, match="no fixed length"):
            parse_duration(value)

    @pytest.mark.parametrize("value", [True, False, None, [], {}, b"1s", timedelta(seconds=1)])
    def test_values_of_other_types_are_refused(self, value: object) -> None:
        with pytest.raises(DurationError, match="is not a duration"):
            parse_duration(value)

    @pytest.mark.parametrize(
        "value", [-1, -0.001, math.nan, math.inf, -math.inf, 10**400, "36601d", "9" * 90 + "s"]
    )
    def test_negative_infinite_and_absurd_ones_are_refused(self, value: object) -> None:
        with pytest.raises(DurationError, match="between 0 and 100 years"):
            parse_duration(value)

    def test_the_longest_duration_is_taken_and_a_longer_one_is_not(self) -> None:
        assert parse_duration(MAX_DURATION_SECONDS) == MAX_DURATION_SECONDS
        with pytest.raises(DurationError):
            parse_duration(MAX_DURATION_SECONDS + 1)

    def test_a_huge_text_is_refused_in_a_short_message(self) -> None:
        with pytest.raises(DurationError) as caught:
            parse_duration("9" * 1_000_000)
        assert len(caught.value.message) < 300

    @given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.binary()))
    def test_any_value_gives_usable_seconds_or_a_duration_error(self, value: object) -> None:
        try:
            seconds = parse_duration(value)
        except DurationError:
            return
        assert 0 <= seconds <= MAX_DURATION_SECONDS


class TestFormatDuration:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0s"),
            (0.25, "250ms"),
            (1.5, "1.5s"),
            (59.9999, "1m"),
            (90, "1m30s"),
            (5400, "1h30m"),
            (183_600, "2d3h"),
            (-90, "-1m30s"),
            (math.inf, "inf"),
        ],
    )
    def test_it_reads_as_people_write_it(self, seconds: float, text: str) -> None:
        assert text == format_duration(seconds)

    @given(st.floats(min_value=0, max_value=MAX_DURATION_SECONDS))
    def test_what_it_writes_is_read_back_to_half_a_second_or_millisecond(self, seconds: float) -> None:
        exact = 0.0006 if seconds < 60 else 0.51
        assert abs(parse_duration(format_duration(seconds)) - seconds) <= exact


class TestParseTime:
    @pytest.mark.parametrize(
        "text",
        [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05+00:00",
            "2026-01-02T05:04:05+02:00",
            "20260102T030405Z",
            "2026-01-02T03:04:05.000Z",
        ],
    )
    def test_iso_8601_with_a_zone_gives_utc(self, text: str) -> None:
        time = parse_time(text)
        assert time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert time.tzinfo is UTC

    def test_a_time_without_a_zone_is_refused_and_told_how_to_add_one(self) -> None:
        with pytest.raises(DurationError, match="2026-01-02T03:04:05Z"):
            parse_time("2026-01-02T03:04:05")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "now",
            "2026-01-02",
            "2026-01-02Z",
            "2026-13-02T00:00Z",
            "2026-01-02T25:00Z",
            "2026-01-02x00:00Z",
            "2016-12-05 21:29:29Z",
            5,
            None,
        ],
    )
    def test_other_values_are_refused(self, text: object) -> None:
        with pytest.raises(DurationError, match="not a"):
            parse_time(text)

    def test_a_time_that_utc_cannot_hold_is_refused(self) -> None:
        with pytest.raises(DurationError, match="years 1 to 9999"):
            parse_time("0001-01-01T00:00:00+23:59")

    @given(st.text())
    def test_any_text_gives_an_aware_time_or_a_duration_error(self, text: str) -> None:
        try:
            time = parse_time(text)
        except DurationError:
            return
        assert time.tzinfo is UTC


class TestFormatTime:
    def test_it_writes_utc_with_microseconds(self) -> None:
        time = datetime(2026, 1, 2, 5, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
        assert format_time(time) == "2026-01-02T03:04:05.000006+00:00"

    def test_it_writes_microseconds_where_there_are_none(self) -> None:
        assert format_time(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000000+00:00"

    def test_a_naive_datetime_is_refused(self) -> None:
        with pytest.raises(DurationError, match="time zone"):
            format_time(datetime(2026, 1, 2))  # noqa: DTZ001 - what is tested

    @given(aware_times)
    def test_what_it_writes_is_read_back(self, time: datetime) -> None:
        assert parse_time(format_time(time)) == time

    @given(aware_times, aware_times)
    def test_text_order_is_time_order(self, one: datetime, other: datetime) -> None:
        assert (one < other) == (format_time(one) < format_time(other))


class TestMoments:
    NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("value", "ago"),
        [
            ("1d", timedelta(days=1)),
            ("200000ms", timedelta(seconds=200)),
            ("PT15M", timedelta(minutes=15)),
            (90, timedelta(seconds=90)),
            (timedelta(hours=2), timedelta(hours=2)),
            ("2026-01-01T12:00:00Z", timedelta(days=1)),
            ("20260102T140000+0200", timedelta()),
            ("2026-W01-4T12:00:00Z", timedelta(days=1)),
            (datetime(2026, 1, 3, tzinfo=UTC), timedelta(hours=-12)),
        ],
    )
    def test_a_moment_is_a_time_or_how_long_ago_it_was(self, value: object, ago: timedelta) -> None:
        assert parse_moment(value, self.NOW) == self.NOW - ago

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("soon", "neither how long ago something was, nor a time. Write seconds"),
            ("2026-01-02", "is not a date and a time"),
            (timedelta(seconds=-1), "neither how long ago"),
            (None, "neither how long ago"),
            (datetime(2026, 1, 2), "names no time zone"),  # noqa: DTZ001 - that is what is tried
        ],
    )
    def test_what_is_neither_is_refused(self, value: object, said: str) -> None:
        with pytest.raises(DurationError, match=said):
            parse_moment(value, self.NOW)

    def test_a_moment_lies_in_the_years_that_there_are(self) -> None:
        with pytest.raises(DurationError, match="before the year 1"):
            parse_moment("3650d", datetime(9, 1, 1, tzinfo=UTC))
