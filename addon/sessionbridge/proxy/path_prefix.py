"""A conversation that the address names: `/s/NAME` before the path of an API, as in
`http://127.0.0.1:8080/s/my-chat/v1/messages`, for programs that let nothing else be set.

The prefix is taken off before anybody else looks at the path, and put back in what people see of
the flow. So whatever is not bridged passes on without it: a program asks all it asks of one base
URL, its models for one, and to the API the prefix would say nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes
from weakref import WeakKeyDictionary

from mitmproxy import http

from sessionbridge.errors import BadRequest
from sessionbridge.proxy.http_message import lowered
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.routing import OWN_HEADER
from sessionbridge.sessions.origins.request import NO_PATH_NAMES, text_of
from sessionbridge.sessions.origins.table import check_id

_PREFIXED = re.compile(rb"/+s/([^/?#]*)/+([^/?#].*)", re.S)
"""Without a path behind it, nothing is asked of an API."""


class _Asked(NamedTuple):
    """The path as it was asked for, and the name in it, percent-encoded as it came."""

    path: bytes
    name: bytes


class PathPrefix:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._asked: WeakKeyDictionary[http.HTTPFlow, _Asked] = WeakKeyDictionary()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Elsewhere than at a bridged host such a path is somebody else's."""
        data = flow.request.data
        found = _PREFIXED.fullmatch(data.path)
        name, path = found.groups() if found else (b"", data.path)
        astray = self._is_astray(path, behind_name=found is not None)
        if not (found or astray) or not flow.live:
            return
        if not self._options.routes.is_asked(flow.request, flow.client_conn.sni):
            return
        self._asked[flow] = _Asked(data.path, b"" if astray else name)
        if found:
            data.path = b"/" + path

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        self._restore(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._restore(flow)

    def check(self, flow: http.HTTPFlow) -> None:
        """Raises `BadRequest` for a prefix that names no conversation."""
        self._named(flow)

    def headers(self, flow: http.HTTPFlow) -> dict[str, str]:
        """Those of the request, by name in lower case, and the name in its path as our own header.
        So it is one conversation, however that is named, and comes before the ids that programs
        send by themselves. A header comes before the path: whoever can set it can set it for each
        request."""
        headers = lowered(flow.request.headers)
        name = self._named(flow)
        if name is not None and text_of(headers.get(OWN_HEADER)) is None:
            headers[OWN_HEADER] = name
        return headers

    def _named(self, flow: http.HTTPFlow) -> str | None:
        """None for a path without the prefix. One that names nothing is refused, other than a
        header: it may hold a variable that nobody has set, and can have been meant for us alone."""
        asked = self._asked.get(flow)
        if asked is None:
            return None
        name = text_of(unquote_to_bytes(asked.name).decode(errors="surrogateescape"))
        if name is None or name.lower() in NO_PATH_NAMES:
            raise BadRequest(
                "The address names no conversation; put /s/ and a name of your own before all "
                "else, as in /s/my-chat/v1, with a slash in the name as %2F."
            )
        check_id(name, "address")
        return name

    def _is_astray(self, path: bytes, *, behind_name: bool) -> bool:
        """Whether a prefix stands where it has no effect, as behind /v1, is spelled otherwise, or
        has a name with a slash. It is refused: it was meant for us."""
        if not behind_name and b"/s" not in path.lower() and b"%" not in path:
            return False  # as nearly always
        parts, speaks = _parts(path), self._options.routes.speaks
        if not behind_name:
            tails = range(parts.index("s") + 2, len(parts)) if "s" in parts else range(0)
        elif speaks(path.decode("ascii", "replace")):
            return False
        else:  # behind /v1 other things end like that, as the messages of a thread
            tails = range(1, len(parts)) if parts[:1] != ["v1"] else range(0)
        return any(speaks("/" + "/".join(parts[at:])) for at in tails)

    def _restore(self, flow: http.HTTPFlow) -> None:
        if (asked := self._asked.pop(flow, None)) is not None:
            flow.request.data.path = asked.path


def _parts(path: bytes) -> list[str]:
    """Of a path, however it is spelled."""
    text = path.partition(b"?")[0].decode("ascii", "replace")
    spelled = unquote(unquote(text)).replace("\\", "/").lower()
    return [part.partition(";")[0].strip() for part in spelled.split("/") if part not in ("", ".")]
