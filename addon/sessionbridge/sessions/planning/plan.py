"""Decides how the model comes to see exactly this conversation. Pure: values in, a `Plan` out.

One rule: continue from the longest known point that is a prefix of the conversation, feed what
follows it, ask the last user message. A point further back than a session's tip is continued in a
fork, because resuming there in place would destroy the branch that goes on from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sessionbridge.model import History, Plan, Point
from sessionbridge.sessions.planning.lineage import Link
from sessionbridge.sessions.planning.manner import Manner, is_akin


def resolve_history(declared: History, links: Sequence[Link], learned: str | None) -> History:
    """Who keeps the history, where the origin leaves it to be learnt.

    A client that has once sent assistant messages keeps its history itself; until then a lone
    message is taken as the next one of a history kept here.
    """
    if declared != "learn":
        return declared
    resends = learned == "client" or any(link.message.role == "assistant" for link in links)
    return "client" if resends else "server"


def plan_client_held(
    links: Sequence[Link],
    points: Sequence[Point],
    open_turn: Point | None = None,
    asked: Manner | None = None,
) -> Plan:
    """The client sends the whole conversation, and what it sends is the truth.

    `open_turn` is where a turn waits for the results that the last message brings. `asked` is how
    the request is asked: a tip whose turn was asked quite otherwise is not gone on from in place,
    because that may be a side call about the conversation.
    """
    *earlier, ask = links
    if not earlier:
        return Plan("fresh", "first_turn", None, (), ask.message)
    if open_turn is not None and open_turn.is_tip:
        return Plan("resume", "tool_results", open_turn, (), ask.message)
    best = {point.hash: point for point in sorted(points, key=_preference)}
    whole = tuple(link.message for link in earlier)
    for index in range(len(earlier) - 1, -1, -1):
        base = best.get(earlier[index].hash)
        if base is None:
            continue
        feed = tuple(link.message for link in earlier[index + 1 :])
        if feed:
            return Plan("import", _imported(links), base, feed, ask.message, whole)
        other = base.is_tip and asked is not None and _is_other(base, asked)
        if base.is_tip and not other:
            return Plan("resume", "continued", base, (), ask.message)
        reason = "other_settings" if other else "retried" if ask.hash in best else "branched"
        return Plan("fork", reason, base, (), ask.message, whole)
    return plan_unknown(links)


def plan_server_held(
    links: Sequence[Link],
    tip: Point | None,
    *,
    repeats: bool = False,
    before: Point | None = None,
) -> Plan:
    """The history is kept here: what follows the last assistant message is what is new.

    `repeats` says that this is the turn of the tip once more; `before` is where that had begun.
    """
    ask = links[-1].message
    if tip is None:
        return plan_unknown(links)
    if not repeats:
        reason = "tool_results" if tip.is_open else "appended"
        return Plan("resume", reason, tip, (), ask)
    return Plan("fork" if before else "fresh", "retried", before, (), ask)


def plan_after(links: Sequence[Link], end: Point) -> Plan:
    """The request says itself which turn it goes on from."""
    *earlier, ask = links
    feed = tuple(link.message for link in earlier)
    if feed:
        return Plan("import", _imported(links), end, feed, ask.message)
    if end.is_open:
        return Plan("resume", "tool_results", end, (), ask.message)
    if end.is_tip:
        return Plan("resume", "continued", end, (), ask.message)
    return Plan("fork", "branched", end, (), ask.message)


def plan_unknown(links: Sequence[Link], reason: str | None = None) -> Plan:
    """Nothing is known of this conversation: it begins here, or it is brought in whole."""
    *earlier, ask = links
    if earlier:
        feed = tuple(link.message for link in earlier)
        return Plan("import", reason or _imported(links), None, feed, ask.message)
    return Plan("fresh", reason or "first_turn", None, (), ask.message)


def _is_other(base: Point, asked: Manner) -> bool:
    if base.settings in (None, asked.settings):
        return False
    return not is_akin(base.sketch or "", asked.sketch)


def _imported(links: Sequence[Link]) -> str:
    """Tool results that are brought in are those that no process waits for any more."""
    return "tools_imported" if links[-1].message.brings_results else "imported"


def _preference(point: Point) -> tuple[bool, int]:
    """Later wins where several sessions hold the same words: a tip first, then the newest turn."""
    return (point.is_tip, point.turn_id)
