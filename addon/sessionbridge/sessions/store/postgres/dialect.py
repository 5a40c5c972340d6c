"""How PostgreSQL writes what the engines write in different ways."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfoNotFoundError, available_timezones

import tzlocal

from sessionbridge.sessions.store.engine import Dialect


def dialect() -> Dialect:
    """On the clock of this machine, whichever the server has."""
    zone = _zone()
    local = f"to_timestamp(started_at) AT TIME ZONE {zone}"
    return Dialect(
        day=f"to_char({local}, 'YYYY-MM-DD')",
        utc_day="to_char(to_timestamp(started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
        begin_of_hour="CAST(floor(started_at / 3600) AS bigint) * 3600",
        begin_of_day=(
            f"CAST(extract(epoch FROM date_trunc('day', {local}) AT TIME ZONE {zone}) AS bigint)"
        ),
        listed="(SELECT json_array_elements_text(CAST(:listed AS json)) AS value)",
        number_on="SELECT setval(pg_get_serial_sequence('turns', 'id'), max(id)) FROM turns",
    )


def _zone() -> str:
    """By its name, or where it has none (as with `TZ=CET-1CEST`) by what it is ahead of UTC now."""
    try:
        name = str(tzlocal.reload_localzone())
    except (ZoneInfoNotFoundError, ValueError):
        name = ""
    if name in available_timezones():
        return f"'{name}'"
    ahead = datetime.now().astimezone().utcoffset()
    return f"CAST('{ahead.total_seconds() if ahead else 0:.0f} seconds' AS interval)"
