"""Up to which size an image reaches the model as the client gave it (real CLI)."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessionbridge.model import Block, Message, Parameters, Tool
from tests.support.claude_cli import Stage, blocks_of, isolated, job, say, staged

LARGEST = 512_000
WIDEST = 2_000
PARAMETERS = Parameters(tools=(Tool("look", "Looks.", {"type": "object"}),))
CALL: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}


def image(size: int, width: int = 8) -> Block:
    """A PNG of as many bytes and pixels."""
    rows = (b"\0" + b"\x40" * 3 * width) * width
    header = struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    known = 8 + sum(12 + len(data) for _, data in parts)
    parts.insert(1, (b"tEXt", b"a\0" + b"x" * (size - known - 14)))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    assert len(png) == size
    data = base64.b64encode(png).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source}


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as made:
        yield made


@pytest.mark.parametrize(("size", "width"), [(LARGEST, 8), (100_000, WIDEST)])
async def test_an_image_of_a_message(stage: Stage, size: int, width: int) -> None:
    shown = Message("user", (image(size, width), {"type": "text", "text": "What is it?"}))
    await stage.answer(job(shown, memory="none"))
    assert stage.blocks == blocks_of(shown)
    feed = (shown, say("A square", "assistant"))
    await stage.answer(job("Sure?", "import", feed=feed))
    assert stage.blocks == blocks_of(*feed, say("Sure?"))


async def test_an_image_in_a_result_may_be_larger(stage: Stage) -> None:
    result: Block = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [image(3_000_000, 2_500)],
    }
    feed = (
        say("Look"),
        Message("assistant", (CALL,)),
        Message("user", (result,)),
        say("It", "assistant"),
    )
    await stage.answer(job("Sure?", "import", feed=feed, parameters=PARAMETERS))
    assert stage.blocks == blocks_of(*feed, say("Sure?"))
