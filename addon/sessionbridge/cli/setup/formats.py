"""Sets values in the text of a file, by its format. Each raises `ValueError` for what cannot be
read or changed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from sessionbridge.cli.setup.jsonc import with_value
from sessionbridge.cli.setup.yaml_lists import with_entry

type Values = Mapping[tuple[str, ...], Any]
type Setter = Callable[[str, Values], str]


def in_json(text: str, values: Values) -> str:
    """With or without comments."""
    for path, value in values.items():
        text = with_value(text, path, value)
    return text


def in_json5(text: str, values: Values) -> str:
    for path, value in values.items():
        text = with_value(text, path, value, json5=True)
    return text


def in_toml(text: str, values: Values) -> str:
    try:
        document = tomlkit.parse(text)
        for path, value in values.items():
            here = cast("Table", document)
            for name in path[:-1]:
                if name not in here:
                    # A table that holds nothing but tables is not written.
                    here[name] = tomlkit.table(is_super_table=path.index(name) < len(path) - 2)
                here = cast("Table", here[name])
            here[path[-1]] = value
        return tomlkit.dumps(document)
    except (TOMLKitError, TypeError) as error:
        raise ValueError(f"it is no TOML that can be changed: {error}") from error


def in_yaml_list(key: str, head: str = "") -> Setter:
    """The values are entries of lists, which are told apart by `key`; `head` is what an empty file
    begins with. The path is that of the list: a name, or nothing where it is the whole."""

    def entered(text: str, values: Values) -> str:
        text = text if text.strip() else head
        for path, entry in values.items():
            text = with_entry(text, path[0] if path else None, entry, key)
        return text

    return entered
