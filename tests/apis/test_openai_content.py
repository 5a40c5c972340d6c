"""What both OpenAI APIs spell the same way: every rule in a table."""

from __future__ import annotations

import base64
import time

import pytest

from sessionbridge.apis.common.openai_content import document, image
from sessionbridge.errors import BadRequest


def data(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def text_source(words: str) -> dict[str, str]:
    return {"type": "text", "media_type": "text/plain", "data": words}


@pytest.mark.parametrize(
    "url, media_type",
    [
        ("data:image/png;base64,aGk=", "image/png"),
        ("DATA:Image/JPG;name=x;base64,aGk=", "image/jpeg"),
        ("data:image/webp;BASE64,aGk=", "image/webp"),
    ],
)
def test_images_are_data(url: str, media_type: str) -> None:
    source = {"type": "base64", "media_type": media_type, "data": "aGk="}
    assert image(url, "f") == {"type": "image", "source": source}


FILES: dict[str, tuple[str, dict[str, str]]] = {
    "PDF": (
        data("application/pdf", b"hi"),
        {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
    ),
    "plain": (data("text/plain", "ä🙂".encode()), text_source("ä🙂")),
    "with a charset": (data("text/csv;charset=utf-8", b"a,b\r\n"), text_source("a,b\r\n")),
    "Markdown": (data("Text/Markdown", b"# a"), text_source("# a")),
    "JSON": (data("application/json", b"{}"), text_source("{}")),
    "of an editor on Windows": (data("text/plain", b"\xef\xbb\xbfa"), text_source("a")),
}


@pytest.mark.parametrize("url, source", FILES.values(), ids=FILES)
def test_files_are_documents(url: str, source: dict[str, str]) -> None:
    assert document(url, None, "f") == {"type": "document", "source": source}
    named = {"type": "document", "source": source, "title": "a.txt"}
    assert document(url, "a.txt", "f") == named


REFUSED: dict[str, tuple[str, str]] = {
    "an archive": (data("application/zip", b"Zanzibar"), "must hold a PDF or a text"),
    "an image": (data("image/png", b"Zanzibar"), "must hold a PDF or a text"),
    "Latin-1": (data("text/plain", "Zanzibarä".encode("latin-1")), "of UTF-8 text"),
    "half of base64": ("data:text/plain;base64,Zanzibar=", "must hold base64"),
    "strange characters": ("data:text/plain;base64,Zanz!bar", "must hold base64"),
    "blank": (data("text/plain", b" \n"), "not blank"),
    "no base64": ("data:text/plain,Zanzibar", "must be a base64 data: URL"),
    "elsewhere": ("https://x/Zanzibar.pdf", "must be a base64 data: URL"),
}


@pytest.mark.parametrize("url, rule", REFUSED.values(), ids=REFUSED)
def test_other_files_are_refused_without_a_word_of_them(url: str, rule: str) -> None:
    with pytest.raises(BadRequest) as caught:
        document(url, "Zanzibar.txt", "a.b")
    assert rule in caught.value.message
    assert "Zanzibar" not in caught.value.message
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["data:" + ";x" * 1_000_000, "data:" + "x" * 2_000_000 + ";"])
def test_a_hostile_url_is_refused_at_once(url: str) -> None:
    before = time.process_time()
    with pytest.raises(BadRequest):
        image(url, "f")
    assert time.process_time() - before < 1
