"""Transcripts that nodes share: what one has kept, another has, and nothing else."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from sessionbridge.disk import write_whole
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.shared_files import SharedFiles
from sessionbridge.sessions.store.store import SessionStore
from tests.support.postgres import Postgres
from tests.support.postgres_stores import asked, node_store
from tests.support.turn_records import turn


class Node:
    """One of two, with a transcript that no other test has."""

    def __init__(self, folder: Path, store: SessionStore, name: str) -> None:
        self.folder = folder
        self.store = store
        self.name = name

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def text(self) -> str:
        return self.path.read_text()

    def says(self, *lines: str) -> None:
        self.folder.mkdir(exist_ok=True)
        with self.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def commits(self, *lines: str) -> None:
        self.says(*lines)
        self.commit()

    def commit(self) -> None:
        self.store.commit(turn(internal_id=self.name))

    def fetches(self) -> None:
        if not self.store.are_here(self.name):
            self.store.bring_in(self.name)


@dataclass(frozen=True, slots=True)
class Shared:
    url: str
    names: Iterator[int]
    folders: tuple[Path, Path]
    stores: tuple[SessionStore, SessionStore]


@pytest.fixture(scope="module")
def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folders = tmp_path_factory.mktemp("one") / "kept", tmp_path_factory.mktemp("other") / "kept"
    one, other = folders
    with (
        postgres.database() as url,
        node_store(url, folder=one) as first,
        node_store(url, folder=other) as second,
    ):
        yield Shared(url, count(1), folders, (first.store, second.store))


@pytest.fixture
def nodes(shared: Shared) -> Iterator[tuple[Node, Node]]:
    name = f"session-{next(shared.names)}"
    (one, other), (first, second) = shared.folders, shared.stores
    yield Node(one, first, name), Node(other, second, name)
    for folder in shared.folders:
        shutil.rmtree(folder, ignore_errors=True)


def pieces(shared: Shared, node: Node) -> list[int]:
    sql = "SELECT number FROM sessionbridge.pieces WHERE name = %s ORDER BY number"
    return [number for (number,) in asked(shared.url, sql, node.path.name)]


def test_each_turn_is_a_piece_and_goes_on_anywhere(
    shared: Shared, nodes: tuple[Node, Node]
) -> None:
    one, other = nodes
    one.commits("a", "b")
    other.fetches()
    other.commits("c")
    one.fetches()
    one.commits("d")
    other.fetches()
    assert one.text == other.text == "a\nb\nc\nd\n"
    assert pieces(shared, one) == [0, 1, 2]
    assert stat.S_IMODE(other.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(other.folder.stat().st_mode) == 0o700


def test_what_is_beside_a_transcript_is_kept_too(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    for suffix in (".instructions", ".responses"):
        one.folder.mkdir(exist_ok=True)
        (one.folder / f"{one.name}{suffix}").write_text(f"{suffix}\n")
    one.commits("a")
    other.fetches()
    assert {file.name: file.read_text() for file in other.folder.iterdir()} == {
        f"{one.name}.jsonl": "a\n",
        f"{one.name}.instructions": ".instructions\n",
        f"{one.name}.responses": ".responses\n",
    }


def test_a_file_that_lost_its_end_is_written_anew(nodes: tuple[Node, Node]) -> None:
    one, _ = nodes
    one.commits("a", "b")
    one.path.write_text("a\n")
    assert not one.store.are_here(one.name)
    one.fetches()
    assert one.text == "a\nb\n"


@pytest.mark.parametrize("found", ["x\ny\n", "a\nx\nmore\n", "", "a"])
def test_one_that_differs_is_replaced(nodes: tuple[Node, Node], found: str) -> None:
    one, other = nodes
    one.commits("a", "b")
    other.folder.mkdir()
    other.path.write_text(found)
    other.fetches()
    assert other.text == "a\nb\n"


def test_what_a_failed_turn_has_left_stays_until_others_go_on(nodes: tuple[Node, Node]) -> None:
    """It is the CLI's own, which knows how to go on behind it."""
    one, other = nodes
    one.commits("a")
    one.says("failed")
    assert one.store.are_here(one.name)
    other.fetches()
    other.commits("b")
    assert not one.store.are_here(one.name)
    one.fetches()
    assert one.text == other.text == "a\nb\n"


def test_a_line_that_is_being_written_is_kept_when_it_is_whole(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.commits("a")
    with one.path.open("a") as file:
        file.write("hal")
    one.commit()
    other.fetches()
    assert other.text == "a\n"
    with one.path.open("a") as file:
        file.write("ves\n")
    one.commit()
    other.fetches()
    assert other.text == "a\nhalves\n"


def test_one_that_was_rewritten_is_kept_anew(shared: Shared, nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.commits("a", "b")
    one.commits("c")
    one.path.write_text("summary\n")
    one.commit()
    other.fetches()
    assert other.text == "summary\n"
    assert pieces(shared, one) == [0]


def test_one_that_this_node_does_not_have_stays(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.commits("a")
    other.commit()
    other.store.keep_files(other.name)
    other.fetches()
    assert other.text == "a\n"


def test_one_that_is_forgotten_is_nowhere(shared: Shared, nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.commits("a")
    one.store.forget_files(one.name)
    assert pieces(shared, one) == []
    other.fetches()
    assert not other.path.exists()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    read = Path.read_bytes

    def counted(path: Path) -> bytes:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    return names


def settle(node: Node) -> None:
    """As if it had been written to long ago; what changes it from now on does so at another time,
    by the file system's clock."""
    os.utime(node.path, (1_700_000_000, 1_700_000_000))
    probe = node.folder / "probe"
    probe.touch()
    while probe.stat().st_ctime_ns == node.path.stat().st_ctime_ns:
        probe.touch()


def test_what_has_not_changed_is_read_once(nodes: tuple[Node, Node], reads: list[str]) -> None:
    one, _ = nodes
    one.commits("a", "b")
    settle(one)
    reads.clear()
    for _ in range(3):
        assert one.store.are_here(one.name)
    one.fetches()
    assert reads == [one.path.name]


def test_what_may_still_change_is_read_each_time(
    nodes: tuple[Node, Node], reads: list[str]
) -> None:
    """Within what a file system takes for the same moment."""
    one, _ = nodes
    one.commits("a", "b")
    reads.clear()
    for _ in range(2):
        assert one.store.are_here(one.name)
    assert reads == [one.path.name] * 2


def rewritten(node: Node) -> None:
    before = node.path.stat()
    node.path.write_text("a\nx\n")
    assert node.path.stat().st_ino == before.st_ino


def rewritten_as_before(node: Node) -> None:
    rewritten(node)
    settle(node)  # to the same time


def replaced(node: Node) -> None:
    write_whole(node.path, b"a\nx\n")
    settle(node)


def cut_off(node: Node) -> None:
    node.path.write_text("a\n")


def deleted(node: Node) -> None:
    node.path.unlink()


@pytest.mark.parametrize("change", [rewritten, rewritten_as_before, replaced, cut_off, deleted])
def test_no_change_is_missed_after_a_look(
    nodes: tuple[Node, Node], change: Callable[[Node], None]
) -> None:
    one, _ = nodes
    one.commits("a", "b")
    settle(one)
    assert one.store.are_here(one.name)
    change(one)
    assert not one.store.are_here(one.name)
    one.fetches()
    assert one.text == "a\nb\n"


def test_nor_what_another_node_has_added(nodes: tuple[Node, Node]) -> None:
    one, other = nodes
    one.commits("a", "b")
    settle(one)
    assert one.store.are_here(one.name)
    other.fetches()
    other.commits("c")
    assert not one.store.are_here(one.name)
    one.fetches()
    assert one.text == "a\nb\nc\n"
    other.path.write_text("x\ny\nz\n")
    other.commit()
    settle(one)
    assert not one.store.are_here(one.name)


DAMAGE = [
    "UPDATE sessionbridge.pieces SET data = 'nonsense' WHERE name = %s AND number = 1",
    "UPDATE sessionbridge.pieces SET data = substr(data, 1, length(data) - 3) WHERE name = %s",
    "DELETE FROM sessionbridge.pieces WHERE name = %s AND number = 0",
    "UPDATE sessionbridge.pieces SET number = 3 - number WHERE name = %s",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_pieces_are_told_and_not_used(
    shared: Shared, nodes: tuple[Node, Node], damage: str
) -> None:
    one, other = nodes
    one.commits("a")
    one.commits("b")
    asked(shared.url, damage, one.path.name)
    with pytest.raises(
        StoreUnavailable, match=f"{one.path.name} is damaged in the session database"
    ):
        other.fetches()
    assert not other.path.exists()
    one.fetches()  # who has it needs no pieces
    assert one.text == "a\nb\n"


def test_a_crash_while_it_is_written_leaves_nothing_half(nodes: tuple[Node, Node]) -> None:
    """Or after it: what is there is looked at again before it is used."""
    one, other = nodes
    one.commits("a", "b")
    other.fetches()
    other.path.rename(other.folder / f"{other.path.name}.unfinished.tmp")
    other.fetches()
    assert other.text == "a\nb\n"


def test_a_folder_that_cannot_be_used_is_told(nodes: tuple[Node, Node], tmp_path: Path) -> None:
    one, other = nodes
    one.commits("a")
    other.folder.symlink_to(tmp_path / "file" / "within")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        other.fetches()
    other.folder.unlink()
    other.path.mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        other.commit()


def test_nor_is_one_that_cannot_be_read_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").mkdir()
    (tmp_path / "one.jsonl").touch()
    assert SharedFiles(tmp_path).names() == ["one"]
    assert SharedFiles(tmp_path / "nowhere").names() == []
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        SharedFiles(loop).names()
