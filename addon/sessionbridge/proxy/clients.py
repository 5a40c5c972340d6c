"""Which client asks, by the token that a request brings. That goes no further than here: nothing
behind this part, and nobody who looks at the flow, sees it."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from mitmproxy import connection, http

from sessionbridge.allowances import ClientRules
from sessionbridge.client_tokens import PREFIX, Token, redacted, token
from sessionbridge.errors import BadRequest, Refused, StoreUnavailable, Unauthorized
from sessionbridge.model import Origin
from sessionbridge.names import printable
from sessionbridge.proxy import proxy_user
from sessionbridge.proxy.wrong_tokens import WrongTokens
from sessionbridge.sessions.store.clients import Client
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.runtime import Runtime

_OWN = "x-sessionbridge-token"
_OWN_NAME, _PREFIX = _OWN.encode(), PREFIX.encode()
_KEYS = ("authorization", "x-api-key", "api-key")
"""The headers in which APIs are sent their keys; the last is Azure's."""

_NAME = "sessionbridge_client"
"""In the flow's metadata. One that is replayed comes without a token."""

_NOBODYS = Token("", "0" * 64)

NEEDED = (
    "This needs the token of a client (sessionbridge clients add NAME makes one): send it in the "
    "place of the API's key, or in X-SessionBridge-Token."
)
_WRONG = (
    "The token is none of a client of this proxy; see sessionbridge clients list, or have a new "
    "one made with sessionbridge clients rotate NAME."
)
_DISAGREE = "This request brings two tokens that are not the same; send one."
_IN_ADDRESS = (
    "A token stands in the address of this request, where others may log it: rotate it "
    "(sessionbridge clients rotate NAME), and send the new one in a header."
)
_IN_HEADER = (
    "The header {} holds a token in a way that is not known here: send it, and nothing else, in "
    "the place of the API's key, or in X-SessionBridge-Token."
)


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks. Nobody who is known has no `name`."""

    name: str = ""
    rules: ClientRules = ClientRules()

    def owning(self, origin: Origin | None) -> Origin | None:
        """What the request names is the client's own."""
        return origin and replace(origin, client=self.name)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a request has brought; `as_key` where one stood in the place of the API's key. `astray`
    says what is wrong where one stood in no place for it."""

    tokens: frozenset[Token]
    as_key: bool
    astray: str | None


class Clients:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._wrong = WrongTokens()
        self._of_connection: WeakKeyDictionary[connection.Client, Token] = WeakKeyDictionary()
        self._sent: WeakKeyDictionary[http.HTTPFlow, _Sent] = WeakKeyDictionary()
        self._asking: WeakKeyDictionary[http.HTTPFlow, Asking] = WeakKeyDictionary()

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Not once it is connected: mitmproxy shows the headers of a tunnel that it refuses."""
        self._of_connection.pop(flow.client_conn, None)
        for text in _of_proxy(flow):
            self._of_connection[flow.client_conn] = token(text)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Takes the tokens out."""
        self._sent.pop(flow, None)
        self._asking.pop(flow, None)
        astray = None
        if (path := redacted(flow.request.data.path)) is not None:
            flow.request.data.path, astray = path, _IN_ADDRESS
        headers, may_hold = flow.request.headers, _may_hold(flow)
        keys = [*_of_keys(headers)] if may_hold else []
        others = [*_of_proxy(flow), *_of_own(headers)] if may_hold else []
        tokens = {token(text) for text in [*keys, *others]}
        if not flow.is_replay and (known := self._of_connection.get(flow.client_conn)) is not None:
            tokens.add(known)
        if may_hold and (name := _left_in(headers)) is not None:
            astray = astray or _IN_HEADER.format(name)
        if tokens or astray is not None:
            self._sent[flow] = _Sent(frozenset(tokens), bool(keys), astray)

    def has_token(self, flow: http.HTTPFlow) -> bool:
        """Or had one when it came, and is replayed."""
        return flow in self._sent or (flow.is_replay == "request" and _NAME in flow.metadata)

    def may_not_pass(self, flow: http.HTTPFlow) -> bool:
        """Whether to send it on would tell a token."""
        sent = self._sent.get(flow)
        return sent is not None and (sent.as_key or sent.astray is not None)

    def asking(self, flow: http.HTTPFlow) -> Asking:
        """As far as that has been found out."""
        return self._asking.get(flow, Asking())

    async def identify(self, flow: http.HTTPFlow) -> None:
        """Finds out who asks, by one question to the database. Raises `BridgeError`."""
        self._asking.pop(flow, None)
        client = await self._client(flow)
        if client is None:
            return
        if client.revoked_at is not None:
            raise Unauthorized(
                f"The token of the client {client.name} was revoked; have a new one made with "
                f"sessionbridge clients rotate {client.name}."
            )
        self._asking[flow] = Asking(client.name, client.rules)
        flow.metadata[_NAME] = client.name
        if proxy_user.named(flow) == client.name:
            proxy_user.name_nothing(flow)

    def check_places(self, flow: http.HTTPFlow) -> None:
        """Raises `BadRequest` for a token in the address, or in a header that is not for one."""
        sent = self._sent.get(flow)
        if sent is not None and sent.astray is not None:
            raise BadRequest(sent.astray)

    def check_passing(self, flow: http.HTTPFlow) -> None:
        """Raises `Refused` for what would pass on, and has a token where a key of the API's is to
        be."""
        sent = self._sent.get(flow)
        if sent is not None and sent.as_key:
            raise Refused(
                f"This request would pass on to {printable(flow.request.pretty_host)}, with a "
                "token of this proxy in the place of a key: it was not sent. Name a conversation, "
                "in X-SessionBridge-Session for example, or send the token in "
                "X-SessionBridge-Token beside a key."
            )

    async def _client(self, flow: http.HTTPFlow) -> Client | None:
        sent = self._sent.get(flow)
        if sent is None or not sent.tokens:
            return await self._replayed(flow)
        if len(sent.tokens) > 1:
            raise Unauthorized(_DISAGREE)
        (given,) = sent.tokens
        client = await self._store.client_by_token(given.id)
        ours = client.token if client else _NOBODYS
        if not hmac.compare_digest(ours.hash, given.hash) or client is None:
            peer = flow.client_conn.peername
            await self._wrong.wait(peer[0] if peer else "")
            raise Unauthorized(_WRONG)
        return client

    async def _replayed(self, flow: http.HTTPFlow) -> Client | None:
        name = flow.metadata.get(_NAME)
        if flow.is_replay != "request" or name is None:
            return None
        client = await self._store.client(name)
        if client is None:
            raise Unauthorized(_WRONG)
        return client

    @property
    def _store(self) -> StoreThread:
        if self._runtime.store is None:
            raise StoreUnavailable(
                "No client can be known: the session map is switched off (SESSIONBRIDGE_MAPPER)."
            )
        return self._runtime.store


def _may_hold(flow: http.HTTPFlow) -> bool:
    """Most requests hold none, and mitmproxy walks over all headers for each that is looked up."""
    return proxy_user.is_checked(flow) or any(
        _PREFIX in value or value[:6].lower() == b"basic " or name.lower() == _OWN_NAME
        for name, value in flow.request.headers.fields
    )


def _of_keys(headers: http.Headers) -> Iterator[str]:
    for name in _KEYS:
        if found := [*filter(None, map(_in_value, headers.get_all(name)))]:
            del headers[name]
            yield from found


def _in_value(value: str) -> str | None:
    """With any scheme or none, or as the user or the password of HTTP's own."""
    words = *proxy_user.basic(value), *value.split()[-1:]
    return next((word for word in words if word.startswith(PREFIX)), None)


def _of_own(headers: http.Headers) -> Iterator[str]:
    """Whatever it is, it is meant as a token."""
    if values := headers.get_all(_OWN):
        del headers[_OWN]
        yield from filter(None, map(str.strip, values))


def _of_proxy(flow: http.HTTPFlow) -> Iterator[str]:
    """As the user or the password."""
    told = proxy_user.credentials(flow)
    if found := [text for text in told if text.startswith(PREFIX)]:
        user, password = ("" if text in found else text for text in told)
        proxy_user.replace_credentials(flow, user, password)
        yield from found


def _left_in(headers: http.Headers) -> str | None:
    """The name of a header that still holds a token, which is made unreadable."""
    names = [name for name, value in headers.fields if _PREFIX in value]
    if not names:
        return None
    headers.fields = tuple((name, redacted(value) or value) for name, value in headers.fields)
    return printable(names[0].decode("ascii", "replace"))
