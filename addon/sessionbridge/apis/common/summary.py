"""Conversations of which a summary takes the place: what the model is asked for it, and how the
model is shown it later."""

from __future__ import annotations

import zlib

from cryptography.fernet import Fernet, InvalidToken

from sessionbridge.model import TextBlock

PROMPT = """\
Write a summary of this conversation. The summary takes its place: whoever goes on sees the \
summary and nothing of what it summarises. Keep all that is needed to go on as if nothing were \
missing: what the user wants, in the user's own words where these matter; what was decided, and \
why; names, figures, paths, code and results that may be needed again; what was done, what failed \
and what is still to be done; and where the conversation stands, with the user's latest request if \
that is still open. Write in the language of the conversation. Call no tool, and do not go on with \
the conversation: write the summary alone."""

_SHOWN = """\
The conversation so far has been replaced by this summary of it. Go on from where it ends.

"""


_SEALED = "sb"
"""The mark of what was sealed here."""


def seal(summary: str, key: bytes) -> str:
    """For an API in which a summary is not to be read by its client. The key is Fernet's
    (https://cryptography.io/en/latest/fernet/)."""
    told = summary.encode("utf-8", "surrogatepass")
    return _SEALED + Fernet(key).encrypt(zlib.compress(told)).decode()


def is_sealed_here(sealed: str) -> bool:
    return sealed.startswith(_SEALED)


def opened(sealed: str, key: bytes) -> str | None:
    """None where it was sealed with another key, or is not what it was."""
    try:
        told = Fernet(key).decrypt(sealed.removeprefix(_SEALED))
    except (InvalidToken, ValueError):  # the latter for what is not ASCII
        return None
    return zlib.decompress(told).decode("utf-8", "surrogatepass")


def shown(summary: str) -> TextBlock:
    """What the model sees in the place of the messages that are summarised. A block of the user's,
    because it may have to be answered as it stands: a client can compact in the middle of a turn
    of tools."""
    return {"type": "text", "text": _SHOWN + summary}
