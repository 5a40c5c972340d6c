"""Hosts and paths as they are meant, however a program spells them. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote

_END = re.compile(r"[?#;\s]")
"""What may follow a path without being one."""

_WITHOUT_VERSION = {"/messages", "/chat/completions", "/responses", "/models"}


def plain_host(host: str) -> str:
    """In lower case, without the dot of a name that is given from the root."""
    return host.lower().rstrip(".")


def plain_path(path: str) -> str:
    """A path without its query. Programs join a base URL and a path of their own, so a slash or the
    version may be there twice, or be missing."""
    parts: list[str] = []
    for part in _END.split(unquote(path.partition("?")[0]), maxsplit=1)[0].split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", ".") and (part.lower() != "v1" or parts != ["v1"]):
            parts.append(part)
    plain = "/" + "/".join(parts)
    lowered = plain.lower()
    if lowered in _WITHOUT_VERSION or lowered.startswith("/models/"):
        plain = f"/v1{plain}"
    return plain


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
