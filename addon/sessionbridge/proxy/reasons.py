"""What each plan and reason means, in one line for the person who looks at a flow."""

from __future__ import annotations

from sessionbridge.proxy.flow_notes import OWN
from sessionbridge.sessions.store.ledger import PASSED

PLANS = {
    "fresh": "a new session",
    "resume": "the session goes on",
    "fork": "a branch of the session",
    "import": "the conversation was brought in",
    PASSED: "it went to the API itself, untouched",
    OWN: "a call by a Claude CLI of the bridge's own, counted in the turn that made it",
}

REASONS = {
    "first_turn": "Nothing was said before in this conversation.",
    "continued": "The client sent what the session holds, and one new message.",
    "appended": "The history is kept here, and the message was added to it.",
    "other_settings": "Asked with another system prompt, other tools or another model than the "
    "conversation: a branch of its own, so that this one goes on as it was.",
    "branched": "An earlier message was edited, or the client went back and went on from there.",
    "retried": "The same question once more: it was asked again where it was asked before.",
    "imported": "The session did not hold all that the client sent, so the rest was brought in.",
    "tool_results": "The client's tools have answered, and the turn that waited for them goes on.",
    "tools_imported": "No process waited for these tool results any more, so they were brought in.",
    "moved": "Another provider had answered before, so what was said there was brought in.",
    "rebuilt": "Claude no longer goes on with this session, so what its file holds was brought in.",
    "memory_lost": "The session was gone and the request held nothing of it: memory starts anew.",
    "started_over": "The client asked to begin anew; the old session is left behind.",
    "compacted": "The conversation had reached the model's limit, so the CLI summarised it.",
    "summarized": "The client asked for a summary of the conversation: Claude wrote it and forgot.",
    "stateless": "The request named no conversation: Claude answered and forgot.",
    "continue": "The request named no conversation: it went on in the most recent session.",
    "mapper_off": "The map of sessions is off: Claude answered and forgot.",
}


def explained(plan: str, reason: str) -> str:
    """For example `resume, continued: The client sent ...`."""
    names = ", ".join(filter(None, (plan, reason)))
    meaning = REASONS.get(reason) or PLANS.get(plan)
    return f"{names}: {meaning}" if meaning else names
