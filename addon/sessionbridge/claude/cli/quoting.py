"""What the API and the CLI have said of a failure, as the client may read it: short, of one line,
without anything that looks like a key, and without the addresses of the operator's own network.
"""

from __future__ import annotations

import re

_READ, _TOLD = 2_000, 300
"""Characters."""

_SECRET = re.compile(r"\b(sk|pk|key|Bearer)[-_ ][\w.-]{8,}", re.I)

_ADVICE = re.compile(r" If it persists, check your inference gateway \([^)]*\)\.")
"""The CLI's own (2.1.332), with the host of ANTHROPIC_BASE_URL: none of the client's business."""

_ADDRESS = re.compile(
    r"\b[a-z]+://(?!(?:[\w-]+\.)*(?:anthropic|claude)\.(?:com|ai)\b)[^\s\"'<>)]+"  # a URL
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"  # IPv4
    r"|\[[0-9a-f:]*:[0-9a-f:.]*\](?::\d+)?|(?<![\w:])[0-9a-f:]*::[0-9a-f:]*[0-9a-f]\b"  # IPv6
    r"|\b[a-z][\w.-]*:\d{2,5}\b"  # host and port
    r"|\b(?:[a-z0-9-]+\.)+(?:internal|intranet|local|localdomain|lan|corp|svc|home|arpa)\b"
    r"|\blocalhost\b",
    re.I | re.A,
)


def quotable(text: str) -> str:
    line = _ADVICE.sub("", " ".join(text[:_READ].split()))
    return _ADDRESS.sub("[address]", _SECRET.sub("[removed]", line))[:_TOLD]
