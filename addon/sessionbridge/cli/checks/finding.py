"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` is what to do, and empty where nothing is."""

    check: str
    status: Status
    found: str
    advice: str = ""
