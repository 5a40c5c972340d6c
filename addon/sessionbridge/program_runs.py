"""How a program that `sessionbridge exec` has started is told from others at a proxy they share: in
the address of the proxy that it is given, the password is the id of its run."""

from __future__ import annotations

import re
import secrets

NOBODY = "-"
"""The user where none is meant: programs leave a password without a user out."""

RUN_ID = re.compile(r"run-[0-9a-f]{16}")


def new_run() -> str:
    return f"run-{secrets.token_hex(8)}"
