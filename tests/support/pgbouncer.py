"""PgBouncer in front of the PostgreSQL of the tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.support.daemons import folder_of_its_own, given_away, needed, started
from tests.support.postgres import PASSWORD, ROLE, Postgres
from tests.support.proxy import free_port, stop

PoolMode = Literal["session", "transaction", "statement"]

_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = {mode}
auth_type = scram-sha-256
auth_file = {users}
"""


@contextmanager
def running_pgbouncer(postgres: Postgres, mode: PoolMode) -> Iterator[int]:
    """Its port. Skips the test where it is not installed."""
    program = needed("pgbouncer", "pgbouncer", Path("/usr/sbin"))
    port = free_port()
    with folder_of_its_own("pgbouncer") as folder:
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        # Not the verifier: with that alone it could not log in to the server (SCRAM).
        users.write_text(f'"{ROLE}" "{PASSWORD}"\n')
        configuration.write_text(
            _CONFIGURATION.format(server=postgres.port, port=port, mode=mode, users=users)
        )
        for file in (users, configuration):
            file.chmod(0o600)
            given_away(file)
        process = started(
            [program, configuration],
            folder,
            folder / "pgbouncer.log",
            ready=lambda: _listens(port),
            ended_by="TERM",
        )
        try:
            yield port
        finally:
            stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
