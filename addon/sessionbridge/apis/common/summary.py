"""Conversations of which a summary takes the place: what the model is asked for it, and how the
model is shown it later."""

from __future__ import annotations

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


def shown(summary: str) -> TextBlock:
    """What the model sees in the place of the messages that are summarised. A block of the user's,
    because it may have to be answered as it stands: a client can compact in the middle of a turn
    of tools."""
    return {"type": "text", "text": _SHOWN + summary}
