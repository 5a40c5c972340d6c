"""Ends an answer's text where the client's stop sequences say: the CLI cannot pass them on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sessionbridge.model import Delta, Finished, TextDelta


class StopSequences:
    """Takes the text of an answer piece by piece; `found` is the sequence it ended at."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = sequences
        self._held = ""
        self.found: str | None = None

    def pass_on(self, text: str) -> str:
        """What of the text so far can be shown now: what may yet turn out to be the beginning of a
        sequence is held back."""
        if self.found is not None:
            return ""
        text = self._held + text
        places = [(text.find(sequence), sequence) for sequence in self._sequences]
        met = [place for place in places if place[0] >= 0]
        if met:
            end, self.found = min(met)
            self._held = ""
            return text[:end]
        kept = max((_overlap(text, sequence) for sequence in self._sequences), default=0)
        shown, self._held = text[: len(text) - kept], text[len(text) - kept :]
        return shown

    def rest(self) -> str:
        """At the end of a text: what was held back for nothing."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, sequence: str) -> int:
    """Characters at the end of the text that the sequence begins with."""
    longest = min(len(text), len(sequence) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(sequence[:n])), 0)


class CutAnswer:
    """An answer without what comes after a stop sequence. The model is let finish all the same: its
    tokens are counted then, and its process is there for the next turn."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._stop = StopSequences(sequences)
        self._block = 0

    def of(self, delta: Delta) -> Iterator[Delta]:
        if isinstance(delta, TextDelta):
            self._block = delta.block
            yield TextDelta(delta.block, self._stop.pass_on(delta.text))
            return
        if self._stop.found is None:
            if rest := self._stop.rest():
                yield TextDelta(self._block, rest)
            yield delta
        elif isinstance(delta, Finished):
            sequence = self._stop.found
            end = replace(delta, stop_reason="stop_sequence", stop_sequence=sequence, exact=False)
            yield replace(end, stop_details=None)
