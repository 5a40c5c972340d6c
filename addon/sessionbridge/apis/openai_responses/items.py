"""The input items of a Responses request, into the neutral form (see `openai_responses`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from sessionbridge.apis.common import free_text, summary
from sessionbridge.apis.common.body import (
    Fields,
    NotBlank,
    Part,
    check,
    parts,
    refused,
    text_of,
    unknown,
    without_effect,
)
from sessionbridge.apis.common.messages import CallWords, Messages
from sessionbridge.apis.common.openai_content import document, image, text, titled, tool_use
from sessionbridge.apis.openai_responses import hosted
from sessionbridge.apis.openai_responses.answer import reference
from sessionbridge.apis.openai_responses.tools import Offers
from sessionbridge.model import Block, Message, Role, is_blank
from sessionbridge.names import shown

# `text` is what `parts` makes of a string; the API has a word of its own for each side.
TEXT_TYPES = ("input_text", "output_text", "text")
USER_TYPES = ("input_text", "input_image", "input_file")
ASSISTANT_TYPES = ("output_text", "refusal")

# What the API wrote into an item, or has clients send back with it; it says nothing to the model.
SILENT = frozenset({"type", "id", "status", "phase"})
DEFAULTS = {"caller": {"type": "direct"}}

WORDS = CallWords(
    unanswered="no tool output found for function call {}",
    uncalled="no tool call found for function call output with call_id {}",
)
"""The API's own."""


class _Item(Fields):
    type: NotBlank | None = None


class _Message(Fields):
    role: Literal["user", "assistant", "system", "developer"]
    content: Any


class _Call(Fields):
    call_id: str
    name: NotBlank
    namespace: NotBlank | None = None


class _FunctionCall(_Call):
    arguments: str


class _CustomCall(_Call):
    input: str


class _Output(Fields):
    call_id: str
    output: Any
    # The call tells these; some clients repeat them.
    name: str | None = None
    namespace: str | None = None


class _Hosted(Fields):
    id: str | None = None
    call_id: str | None = None
    approval_request_id: str | None = None


class _Compaction(Fields):
    encrypted_content: str


class _Reference(Fields):
    id: NotBlank


class _Image(Fields):
    image_url: str | None = None
    detail: str | None = None


class _File(Fields):
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


class _Refusal(Fields):
    refusal: str


class Items:
    """Takes the items in order; `offers` are all tools, `approvals` the ids of the requests for one
    that were decided. `ignored` names what has no effect, `summarized` says that a summary is among
    them.

    The API has an item for each text, call and result; neighbours that one answer, or the results
    of one, were split into become one message again.
    """

    def __init__(self, offers: Offers, approvals: Collection[str] = ()) -> None:
        self._offers = offers
        self._approvals = approvals
        self.messages = Messages(WORDS)
        self.ignored: set[str] = set()
        self.summarized = False
        self._role: Role | None = None
        self._blocks: list[Block] = []
        self._field = ""
        self._told = False
        self._hosted_ids: dict[str, str] = {}
        """By the id of an item and by its kind: the id of the last such call."""
        self._takers: dict[str, Callable[[dict[str, Any], str], None]] = {
            "message": self._message,
            "function_call": self._function_call,
            "function_call_output": self._output,
            "custom_tool_call": self._custom_call,
            "custom_tool_call_output": self._output,
            "item_reference": self._reference,
            "additional_tools": lambda value, field: None,  # offered with the others
            **{kind: partial(self._hosted_call, kind) for kind in hosted.CALLS},
            **{kind: partial(self._hosted_result, kind) for kind in hosted.RESULTS},
            **{kind: partial(self._hosted_both, kind) for kind in hosted.BOTH},
            **{kind: partial(self._left_out, kind) for kind in hosted.LEFT_OUT},
            "compaction": self._compaction,
        }

    def ask(self, words: str) -> None:
        """Takes an input that is a string."""
        if not words.strip():
            raise refused("input", "must hold a text that is not blank")
        self.end()
        self._say("user", [text(words)], "input")

    def add(self, value: Any, field: str) -> None:
        check(_Item, value, field)
        kind = kind_of(value)
        if kind not in self._takers:
            known = ", ".join(self._takers)
            rule = f"{shown(kind)} is not an item this bridge can pass on; it can {known}"
            raise refused(f"{field}.type", rule)
        self._takers[kind](value, field)

    def whole(self) -> tuple[str, tuple[Message, ...]]:
        """The system prompt and the messages."""
        self.end()
        if not self._told:
            raise refused("input", "must hold a message of the user")
        return self.messages.whole()

    def _message(self, value: dict[str, Any], field: str) -> None:
        message = check(_Message, value, field)
        self._note(message)
        content = f"{field}.content"
        if message.role in ("system", "developer"):
            if self._role == "assistant":
                self.end()
            self._told = True
            self.messages.instruct_within(_texts(message.content, content), field)
        elif message.role == "assistant":
            self._join("assistant", _said(message.content, content), field)
        else:
            self.end()
            self._say("user", self._user_blocks(message.content, content), field)

    def _function_call(self, value: dict[str, Any], field: str) -> None:
        call = check(_FunctionCall, value, field)
        name = self._offers.name(call.name, call.namespace)
        use = tool_use(call.call_id, name, call.arguments)
        self._note(call)
        self._join("assistant", [use], field)

    def _custom_call(self, value: dict[str, Any], field: str) -> None:
        call = check(_CustomCall, value, field)
        name = self._offers.name(call.name, call.namespace)
        given = free_text.given(call.input)
        use: Block = {"type": "tool_use", "id": call.call_id, "name": name, "input": given}
        self._note(call)
        self._join("assistant", [use], field)

    def _output(self, value: dict[str, Any], field: str) -> None:
        output = check(_Output, value, field)
        self._note(output)
        content: str | list[Block]
        if isinstance(output.output, str):
            content = output.output
        else:
            told = self._user_blocks(output.output, f"{field}.output")
            content = [block for block in told if not is_blank(block)]
        result: Block = {"type": "tool_result", "tool_use_id": output.call_id, "content": content}
        self._join("user", [result], field)

    def _hosted_call(self, kind: str, value: dict[str, Any], field: str) -> None:
        item = check(_Hosted, value, field)
        id_ = item.call_id or item.id or ""
        if kind == "mcp_approval_request" and id_ not in self._approvals:
            self.ignored.add(f"input.{kind}")
            return
        # Some results name the call by its item, those of a search at OpenAI by nothing.
        self._hosted_ids |= {item.id or "": id_, kind: id_}
        self._join("assistant", [hosted.call(kind, value, id_)], field)

    def _hosted_result(self, kind: str, value: dict[str, Any], field: str) -> None:
        item = check(_Hosted, value, field)
        last = self._hosted_ids.get("tool_search_call") if kind == "tool_search_output" else None
        named = item.call_id or last or item.approval_request_id or item.id or ""
        id_ = self._hosted_ids.get(named, named)
        self._join("user", [hosted.result(kind, value, id_)], field)

    def _hosted_both(self, kind: str, value: dict[str, Any], field: str) -> None:
        id_ = check(_Hosted, value, field).id or ""
        self._join("assistant", [hosted.call(kind, value, id_)], field)
        self._join("user", [hosted.result(kind, value, id_)], field)

    def _left_out(self, kind: str, value: dict[str, Any], field: str) -> None:
        if hosted.LEFT_OUT[kind]:
            self.ignored.add(f"input.{kind}")

    def _compaction(self, value: dict[str, Any], field: str) -> None:
        sealed = check(_Compaction, value, field).encrypted_content
        if not summary.is_sealed_here(sealed):
            return self._left_out("compaction", value, field)
        self.end()
        self._say("user", [{"type": "sealed_summary", "sealed": sealed}], field)
        self.summarized = True

    def _reference(self, value: dict[str, Any], field: str) -> None:
        id_ = check(_Reference, value, field).id
        if is_told(id_):
            # An id that is none of ours is looked up all the same, and not found.
            response, block = reference(id_) or (id_, 0)
            referred: Block = {
                "type": "item_reference",
                "id": id_,
                "response": response,
                "block": block,
            }
            self._join("assistant", [referred], field)

    def _join(self, role: Role, blocks: Iterable[Block], field: str) -> None:
        if role != self._role:
            self.end()
        self._role, self._field = role, field
        self._blocks += blocks

    def end(self) -> None:
        """What was added makes a message, whatever would follow it."""
        if self._role is not None:
            self._say(self._role, self._blocks, self._field)
            self._role, self._blocks = None, []

    def _say(self, role: Role, blocks: Iterable[Block], field: str) -> None:
        self._told = True
        self.messages.say(role, blocks, field)

    def _user_blocks(self, content: object, field: str) -> Iterator[Block]:
        for part in parts(content, field):
            match part.type:
                case "input_image":
                    yield self._image(part)
                case "input_file":
                    yield _document(part)
                case word if word in TEXT_TYPES:
                    yield text(text_of(part))
                case _:
                    raise unknown(part, USER_TYPES)

    def _image(self, part: Part) -> Block:
        given = check(_Image, part.value, part.field)
        if given.detail not in (None, "auto"):
            self.ignored.add("input.content.detail")
        return image(given.image_url, f"{part.field}.image_url")

    def _note(self, item: Fields) -> None:
        self.ignored |= without_effect(
            item.model_extra, silent=SILENT, defaults=DEFAULTS, prefix="input."
        )


def kind_of(item: Mapping[str, Any]) -> str:
    """The type may be left out of a message and of a reference; only the latter has no role."""
    untyped = "item_reference" if "id" in item and "role" not in item else "message"
    return item.get("type") or untyped


def is_told(reference: str) -> bool:
    """Whether what this id names is shown to the model: thoughts are left out, like their items."""
    return not reference.startswith("rs_")


def _texts(content: object, field: str) -> Iterator[str]:
    for part in parts(content, field):
        if part.type not in TEXT_TYPES:
            raise unknown(part, ["input_text"])
        yield text_of(part)


def _said(content: object, field: str) -> Iterator[Block]:
    for part in parts(content, field):
        match part.type:
            case "refusal":
                yield text(check(_Refusal, part.value, part.field).refusal)
            case word if word in TEXT_TYPES:
                yield text(text_of(part))
            case _:
                raise unknown(part, ASSISTANT_TYPES)


def _document(part: Part) -> Block:
    given = check(_File, part.value, part.field)
    if given.file_url is not None:
        field = f"{part.field}.file_url"
        if not given.file_url.lower().startswith(("https://", "http://")):
            raise refused(field, "must be an http(s) URL")
        return titled({"type": "url", "url": given.file_url}, given.filename)
    return document(given.file_data, given.filename, f"{part.field}.file_data")
