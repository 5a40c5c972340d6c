"""What both OpenAI APIs spell the same way, into the Messages API's blocks: images and files as
data: URLs, and arguments of a call as a string of JSON."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.apis.common.body import refused
from sessionbridge.model import Block

# https://docs.anthropic.com/en/docs/build-with-claude/vision
IMAGE_TYPES = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
# Texts by another name; whatever is `text/…` is one too.
TEXT_TYPES = ("application/json", "application/xml", "application/yaml", "application/x-yaml")

_DATA_URL = re.compile(r"data:([^;,\s]+)(?:;[^;,\s]+)*;base64,(\S+)", re.IGNORECASE)


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def image(url: str | None, field: str) -> Block:
    """An image by its URL, http(s) or data."""
    url = _sent(url, field)
    if url.lower().startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, field)
    if media_type not in IMAGE_TYPES:
        raise refused(field, "must hold a JPEG, PNG, GIF or WebP image")
    return {"type": "image", "source": _base64(IMAGE_TYPES[media_type], data)}


def document(url: str | None, filename: str | None, field: str) -> Block:
    """A file by its data: URL, a PDF or a text
    (https://docs.anthropic.com/en/docs/build-with-claude/citations#plain-text-documents)."""
    media_type, data = _data_url(_sent(url, field), field)
    if media_type == "application/pdf":
        source = _base64(media_type, data)
    elif media_type.startswith("text/") or media_type in TEXT_TYPES:
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(data, field)}
    else:
        raise refused(field, f"must hold a PDF or a text (text/…, {', '.join(TEXT_TYPES)})")
    return titled(source, filename)


def titled(source: Mapping[str, str], title: str | None) -> Block:
    if not title:
        return {"type": "document", "source": source}
    return {"type": "document", "source": source, "title": title}


def tool_use(id_: str, name: str, arguments: str) -> Block:
    return {"type": "tool_use", "id": id_, "name": name, "input": read_arguments(arguments)}


def _sent(url: str | None, field: str) -> str:
    """What stands where a client may also name an upload."""
    if url is None:
        raise refused(field, "is required; an upload's file_id is of no use to the Claude CLI")
    return url


def _data_url(url: str, field: str) -> tuple[str, str]:
    found = _DATA_URL.fullmatch(url)
    if not found:
        raise refused(field, "must be a base64 data: URL, or for images an http(s) URL")
    return found[1].lower(), found[2]


def _base64(media_type: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": data}


def _decoded(data: str, field: str) -> str:
    try:
        # Editors on Windows put a byte order mark first, which is no part of the text.
        words = base64.b64decode(data, validate=True).decode("utf-8-sig")
    except ValueError:  # of base64 or of UTF-8; it holds the text, so it is not chained
        words = ""
    if not words.strip():
        raise refused(field, "must hold base64 of UTF-8 text that is not blank")
    return words
