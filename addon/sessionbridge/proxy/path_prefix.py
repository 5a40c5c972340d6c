"""A conversation that the address names: `/s/NAME` before the path of an API, as in
`http://127.0.0.1:8080/s/my-chat/v1/messages`, for programs that let nothing else be set.

The prefix is taken off before anybody else looks at the path, and put back in what people see of
the flow. So whatever is not bridged passes on without it: a program asks all it asks of one base
URL, its models for one, and to the API the prefix would say nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes
from weakref import WeakKeyDictionary

from mitmproxy import http

from sessionbridge.addresses import plain_path
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
        twice = self._is_within(path)
        if not (found or twice) or not flow.live:
            return
        if not self._options.routes.is_asked(flow.request, flow.client_conn.sni):
            return
        self._asked[flow] = _Asked(data.path, b"" if twice else name)
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
                "else, as in /s/my-chat/v1."
            )
        check_id(name, "address")
        return name

    def _is_within(self, path: bytes) -> bool:
        """Whether a prefix stands where it has no effect, as behind /v1, or is spelled otherwise.
        It is refused: it was meant for us."""
        if b"/s/" not in b"/" + path.lower() and b"%" not in path:
            return False  # as nearly always
        parts = plain_path(path.decode("ascii", "replace")).lower().split("/")
        marks = [at for at, part in enumerate(parts) if part == "s"]
        return any(self._options.routes.speaks("/" + "/".join(parts[at + 2 :])) for at in marks)

    def _restore(self, flow: http.HTTPFlow) -> None:
        if (asked := self._asked.pop(flow, None)) is not None:
            flow.request.data.path = asked.path
