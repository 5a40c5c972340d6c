"""Where requests may be answered here, without a server, and where others are served as well."""

from __future__ import annotations

from sessionbridge.addresses import is_address
from sessionbridge.proxy import operator_pages
from sessionbridge.proxy.options import Options

_WEB = (80, 443)


class ServedHosts:
    def __init__(self, options: Options) -> None:
        self._options = options

    def are_at(self, host: str, port: int) -> bool:
        """Whether what is asked there may be answered here, by its name."""
        return self._options.routes.bridged_host(host, port) or host == operator_pages.HOST

    def may_be_at(self, host: str, port: int) -> bool:
        """The same where the name may be told later, by a request or by TLS."""
        return is_unknown(host, port) or self.are_at(host, port)

    def share(self, host: str, port: int) -> bool:
        """Whether it may as well be some other server, of any protocol. A host that is bridged at
        whatever port has others at those that are not the web's."""
        if self.are_at(host, port):
            return port not in _WEB and not self._options.routes.bridged_there(host, port)
        return is_unknown(host, port)


def is_unknown(host: str, port: int) -> bool:
    """Whether it may be any host of the web: a bare address, at a port where those are."""
    return is_address(host) and port in _WEB
