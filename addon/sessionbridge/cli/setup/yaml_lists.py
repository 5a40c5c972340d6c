"""Puts an entry into a list in the text of a YAML file, and leaves every other byte as it is. Pure.

ruamel.yaml writes nothing but the entry: a file that it writes whole has other blanks than before.
It finds the place, and reads the new text, in which there must be what was there and the entry.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

_WIDTH = 4096
"""Characters; no line of ours is folded."""


def with_entry(text: str, name: str | None, entry: Mapping[str, Any], key: str) -> str:
    """The text with this entry in front of the list of that name; without a name the list is the
    whole. One that has the same value of `key` is replaced. Raises `ValueError` for what cannot be
    read, and for a list that stands in a way not known here."""
    try:
        before = _read(text)
        entries = _listed(before, name)
        place = next((n for n, one in enumerate(entries) if one.get(key) == entry[key]), None)
        rest = entries if place is None else [*entries[:place], *entries[place + 1 :]]
        wanted: Any = [*rest[: place or 0], dict(entry), *rest[place or 0 :]]
        if name is not None:
            wanted = {**(before or {}), name: wanted}
        if before == wanted:
            return text
        after = _edited(text, name, entry, place)
        if _read(after) == wanted:
            return after
    except (YAMLError, TypeError) as error:
        raise ValueError("it is no YAML that can be changed") from error
    raise ValueError(f"{name or 'the whole'} is no list that can be added to where it stands")


def _read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def _listed(document: Any, name: str | None) -> list[dict[str, Any]]:
    """Nothing where there is no list yet."""
    if document is None or (name is not None and name not in document):
        return []
    found = document if name is None else document[name]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name or 'the whole'} is no list of entries")
    return found


def _edited(text: str, name: str | None, entry: Mapping[str, Any], place: int | None) -> str:
    """`place` is that of the entry to replace; without one it is added."""
    node = _node(YAML(pure=True).compose(text), name)
    if node is None:
        ended = text if not text or text.endswith("\n") else f"{text}\n"
        head, margin = ("", 2) if name is None else (f"{name}:\n  ", 4)
        return f"{ended}{head}- {_written(entry, margin)}\n"
    start, column = node.start_mark.index, node.start_mark.column
    if place is not None:
        old = node.value[place]
        new = json.dumps(entry) if _flows(old) else _written(entry, old.start_mark.column)
        return text[: old.start_mark.index] + new + text[_end(old) :]
    if _flows(node):
        comma = ", " if node.value else ""
        return f"{text[: start + 1]}{json.dumps(entry)}{comma}{text[start + 1 :]}"
    return f"{text[:start]}- {_written(entry, column + 2)}\n{' ' * column}{text[start:]}"


def _node(root: Node | None, name: str | None) -> Node | None:
    if name is None or not isinstance(root, MappingNode):
        return root
    return next((value for key, value in root.value if key.value == name), None)


def _flows(node: Node) -> bool:
    """Whether it stands in brackets, as in JSON."""
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _end(node: Node) -> int:
    """Where its last character stands; a block's own mark is behind comments and blank lines."""
    if not isinstance(node, CollectionNode) or _flows(node):
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, MappingNode) else last)


def _written(entry: Mapping[str, Any], margin: int) -> str:
    """All but its first line have this margin."""
    yaml = YAML(pure=True)
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(dict(entry), stream)
    return stream.getvalue().strip().replace("\n", f"\n{' ' * margin}")
