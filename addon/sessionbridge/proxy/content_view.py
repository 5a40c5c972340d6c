"""The content view "Session bridge": any LLM flow as a conversation, bridged or passing through.

It comes up by itself, before the views of JSON and text; mitmproxy's own views stay one click (or
key) away. What is shown is read from the flow each time, so saved flows show it too.
"""

from __future__ import annotations

from mitmproxy import contentviews, http
from mitmproxy.addonmanager import Loader

from sessionbridge.apis.common.json_values import Fields, fields, words
from sessionbridge.proxy.flow_notes import METADATA
from sessionbridge.proxy.http_message import decoded
from sessionbridge.proxy.page_text import answer_page, request_page
from sessionbridge.traffic.reading import Reading, api_of, read

# mitmproxy's own views give 2 at most.
_FIRST = 10.0
_NOT_OURS = -1.0
_AS_IT_CAME = 2000


class ContentView:
    def load(self, loader: Loader) -> None:
        contentviews.add(SessionBridgeView)


class SessionBridgeView(contentviews.Contentview):
    """For `contentviews.add`, which puts it in the place of one that was added before."""

    name = "Session bridge"
    syntax_highlight = "none"

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        """Raises ValueError for what is no LLM flow."""
        spoken = _spoken(metadata)
        if spoken is None:
            raise ValueError("This is no request to a model, nor its answer.")
        flow, message, api = spoken
        if isinstance(message, http.Response):
            page = _answer(flow, message, api, data)
        else:
            page = request_page(read(api, data, None, ""), _notes(flow))
        # A model's text may be cut within a character, and no terminal can print half of one.
        return page.encode(errors="replace").decode()

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        return _NOT_OURS if _spoken(metadata) is None else _FIRST


def _spoken(metadata: contentviews.Metadata) -> tuple[http.HTTPFlow, http.Message, str] | None:
    """The flow, the message that is looked at and its API; None for what is no call of a model."""
    flow, message = metadata.flow, metadata.http_message
    if not isinstance(flow, http.HTTPFlow) or message is None:
        return None
    api = _api(flow)
    return None if api is None else (flow, message, api)


def _answer(flow: http.HTTPFlow, response: http.Response, api: str, data: bytes) -> str:
    reading = read(api, None, data, response.headers.get("content-type", ""))
    page = answer_page(reading, _timed(flow, response), response.status_code)
    if _says_something(reading):
        return page
    return f"{page}\n{data[:_AS_IT_CAME].decode(errors='replace')}\n"


def _says_something(reading: Reading) -> bool:
    return bool(reading.answer or reading.error or reading.usage)


def _api(flow: http.HTTPFlow) -> str | None:
    if noted := words(_notes(flow).get("api")):
        return noted
    request = flow.request
    api = api_of(request.path) if request.method == "POST" else None
    if api is None or "json" not in request.headers.get("content-type", ""):
        return None
    body = decoded(request)
    # Other services have paths that end like these.
    return api if body is None or b'"model"' in body else None


def _notes(flow: http.HTTPFlow) -> Fields:
    return fields(flow.metadata.get(METADATA))


def _timed(flow: http.HTTPFlow, response: http.Response) -> Fields:
    """The notes, with the times the flow itself knows where they have none."""
    notes, begun = _notes(flow), flow.request.timestamp_end
    if begun is None or response.timestamp_end is None:
        return notes
    first, last = response.timestamp_start - begun, response.timestamp_end - begun
    return {
        **notes,
        "first_byte_ms": 0 if notes.get("ttft_ms") else round(first * 1000),
        "duration_ms": notes.get("duration_ms") or round(last * 1000),
    }
