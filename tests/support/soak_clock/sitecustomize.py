"""Put on the path of a Python that is to take the time from a clock that jumps: by the seconds in
the file that SOAK_CLOCK names."""

import os
import time

_right = time.time


def _jumped() -> float:
    try:
        with open(os.environ["SOAK_CLOCK"], encoding="ascii") as file:
            return _right() + float(file.read() or 0)
    except (KeyError, OSError, ValueError):
        return _right()


time.time = _jumped
