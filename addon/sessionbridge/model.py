"""The values that travel from room to room: frozen, without behaviour that needs I/O.

The neutral form of a message is the Messages API's own: a role and content blocks
(https://docs.anthropic.com/en/api/messages), because that is what the CLI takes. Each API
shape translates into it on the way in and out of `Delta`s on the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NotRequired, TypedDict

Role = Literal["user", "assistant"]
Kind = Literal["conversation", "user"]
History = Literal["client", "server", "learn"]
MemoryKind = Literal["session", "none", "continue"]
"""What the CLI keeps: a transcript, nothing, or its most recent session goes on."""

PlanName = Literal["fresh", "resume", "fork", "import"]
Purpose = Literal["answer", "summary", "prewarm"]
"""What a request is for: an answer to the conversation, a summary that is to take its place, or
nothing but that the next one finds its process ready."""

Process = Literal["live", "spare", "new"]
"""What answered: the process of the turn before, one started ahead, or one started for this."""


class TextBlock(TypedDict):
    type: Literal["text"]
    text: str


class ThinkingBlock(TypedDict):
    """Empty where the API does not show what was thought."""

    type: Literal["thinking"]
    thinking: str
    signature: NotRequired[str]


class RedactedThinkingBlock(TypedDict):
    type: Literal["redacted_thinking"]
    data: str


class FileBlock(TypedDict):
    """`source` tells where its content is, in the API's own ways."""

    type: Literal["image", "document"]
    source: Mapping[str, Any]
    title: NotRequired[str | None]
    context: NotRequired[str | None]


class ToolUseBlock(TypedDict):
    type: Literal["tool_use"]
    id: str
    name: str
    input: Any


class ToolResultBlock(TypedDict):
    type: Literal["tool_result"]
    tool_use_id: str
    content: NotRequired[str | Sequence[Block]]
    is_error: NotRequired[bool]


class SearchResultBlock(TypedDict):
    """Of the client's own search."""

    type: Literal["search_result"]
    source: str
    title: str
    content: Sequence[Block]


class ServerToolUseBlock(TypedDict):
    """A call of a tool that runs at the API."""

    type: Literal["server_tool_use"]
    id: str
    name: str
    input: Any


ServerResult = Literal[
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
]


class ServerResultBlock(TypedDict):
    type: ServerResult
    tool_use_id: str
    content: Any


class ReferenceBlock(TypedDict):
    """Stands for an item of an answer given before: the block of that number in the response. In
    what is read of other traffic only its id is known."""

    type: Literal["item_reference"]
    id: str
    response: NotRequired[str]
    block: NotRequired[int]


class SealedSummary(TypedDict):
    """Stands for a summary that its client cannot read."""

    type: Literal["sealed_summary"]
    sealed: str


class UnreadBlock(TypedDict):
    """Stands where other traffic has something that is not understood."""

    type: Literal["unread"]
    kind: str


Block = (
    TextBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | FileBlock
    | ToolUseBlock
    | ToolResultBlock
    | SearchResultBlock
    | ServerToolUseBlock
    | ServerResultBlock
    | ReferenceBlock
    | SealedSummary
    | UnreadBlock
)
"""One content block in the Messages API's form (https://docs.anthropic.com/en/api/messages), but
for the last three kinds."""


def is_blank(block: Block) -> bool:
    """Blank texts say nothing, and the API refuses them wherever they stand in a history ("text
    content blocks must contain non-whitespace text")."""
    return block["type"] == "text" and not block["text"].strip()


def parts_of(result: ToolResultBlock) -> Sequence[Block]:
    """What a result holds; a text by itself is one block of text."""
    content = result.get("content") or ()
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose conversation a request belongs to, as read from the request itself.

    `platform` names the rule that spoke, `external_id` is 1 to 255 characters without control
    characters. `kind` says whether the id names one conversation or a person; `history` says who
    keeps the conversation: the client resends it, the server does, or it must be learnt.
    `by_caller`: the id is of use with the credentials that began the conversation alone. `client`
    is the name of the client that asks, who is known by a token; empty where nobody has one.
    """

    platform: str
    external_id: str
    kind: Kind
    history: History
    by_caller: bool = False
    client: str = ""

    @property
    def scope(self) -> str:
        """Of the session key: a client's are its own, whatever a request names. No platform has a
        colon in its name."""
        return scope_of(self.client, self.platform)


def scope_of(client: str, platform: str) -> str:
    return f"{client}:{platform}" if client else platform


@dataclass(frozen=True, slots=True)
class SessionKey:
    """The primary key of the session map: two platforms or accounts never share a session."""

    scope: str
    external_id: str
    provider: str

    @property
    def client(self) -> str:
        """Whose it is, who is known by a token; empty where nobody has one."""
        return self.scope.rpartition(":")[0]

    @property
    def platform(self) -> str:
        return self.scope.rpartition(":")[2]


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a request was sent, as its headers tell.

    `again` says that the client's library sends it once more, `key` is its idempotency key, hashed.
    `anew` asks to start over. `caller` is a hash of the credentials it came with; what they are is
    nowhere kept. `client` is the name of one that is known by a token, whose `caller` outlives it.
    """

    again: bool = False
    key: str | None = None
    anew: bool = False
    caller: str = ""
    client: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `blocks` is never empty."""

    role: Role
    blocks: tuple[Block, ...]

    @property
    def calls(self) -> list[str]:
        """The ids of the calls that it makes."""
        return [block["id"] for block in self.blocks if block["type"] == "tool_use"]

    @property
    def results(self) -> list[str]:
        """The ids of the calls that it brings results for."""
        return [block["tool_use_id"] for block in self.blocks if block["type"] == "tool_result"]

    @property
    def brings_results(self) -> bool:
        """Whether it answers calls of the message before it."""
        return any(block["type"] == "tool_result" for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the client's. `schema` is the JSON Schema of its input, which nobody here reads.

    The model knows it by `name`. In the client's API it may be `called` something else, in a
    `namespace`, and may take a text instead of JSON (`takes_text`)."""

    name: str
    description: str
    schema: Mapping[str, Any]
    called: str | None = None
    namespace: str | None = None
    takes_text: bool = False


@dataclass(frozen=True, slots=True)
class Thinking:
    """The client wants the model to think, and to be shown what it thought.

    `budget` is in tokens, None leaves it to the model; `display` is the Messages API's own word.
    """

    budget: int | None = None
    display: Literal["summarized", "omitted"] = "summarized"


Effort = Literal["low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How the model is to answer. A process is started with them and cannot change them later.

    Without `thinking` and `effort` the API's own defaults hold. `schema` is a JSON Schema that the
    whole answer has to fulfil. `max_tokens` ends the answer there.
    """

    tools: tuple[Tool, ...] = ()
    thinking: Thinking | None = None
    effort: Effort | None = None
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """What the first request of a thread sets for all of its turns."""

    system: str
    tools: tuple[Tool, ...]


@dataclass(frozen=True, slots=True)
class ThreadTurn:
    """What a request says of its thread; None for what it leaves out. `calls` tells whether tools
    may be called in this turn."""

    system: str | None
    tools: tuple[Tool, ...] | None
    calls: bool = True


@dataclass(frozen=True, slots=True)
class Instructions:
    """What holds in the next turn of a conversation that is kept here. `thread` is None where it is
    no thread."""

    texts: tuple[str, ...] = ()
    thread: Thread | None = None


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """One request, whatever API it came by.

    `model` is the name the client wrote, and then the one to run. The answer ends before any of the
    `stop` sequences. `ignored` names the parameters that have no effect here. `include_usage` asks
    for a usage chunk at the end of a Chat Completions stream. `echo` holds what else of the request
    its API's answer depends on, `previous` the id of the response that this request goes on from,
    `store` whether the client may come back to this one, `background` whether it goes on without
    its client. `thread` is not None where it is part of a thread of the Messages API. What asks for
    a summary ends with the question for it; what is `summarized` begins with one, in the place of
    what was said before: so it shows the whole conversation. `key` is what a summary is sealed
    with, where its API has it so. `items` are the texts of the system prompt that are part of the
    conversation, its last ones; None where the API knows no such parts. `given` is the input for a
    conversation that the API keeps, as the client wrote it, and `referred` are what it only names
    of earlier answers, in its order.
    """

    model: str
    system: str
    messages: tuple[Message, ...]
    stream: bool
    parameters: Parameters = Parameters()
    stop: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    include_usage: bool = False
    echo: Mapping[str, Any] = field(default_factory=dict)
    previous: str | None = None
    store: bool = False
    background: bool = False
    thread: ThreadTurn | None = None
    purpose: Purpose = "answer"
    summarized: bool = False
    key: bytes = field(default=b"", compare=False, repr=False)
    items: tuple[str, ...] | None = field(default=None, compare=False)
    given: str | list[Any] = field(default_factory=list, compare=False)
    referred: Sequence[Block] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """What a response that clients may ask for has beside its words, and what the ledger has.

    `id` is that of its answer in the Messages API. `asked` holds the fields of its request that it
    repeats, `inputs` is how many messages that had, neighbours of one role counted as one. `answer`
    are its blocks where the transcript has others. `thinking_tokens` are those of `Finished`.
    """

    id: str
    asked: Mapping[str, Any]
    inputs: int
    answer: tuple[Block, ...] | None = None
    thinking_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a conversation that the CLI can continue from.

    `hash` stands for everything said up to it, `entry_uuid` is the transcript entry there,
    `turn_id` the turn that stored it. `is_tip` says that nothing was committed to its session after
    it, `is_open` that it waits for the results of tools: only the process that waits can go on.
    `settings` stands for the system prompt and tools of its turn, `sketch` for what they are like;
    None where they are not known.
    """

    hash: str
    session_id: str
    entry_uuid: str
    turn_id: int
    is_tip: bool
    is_open: bool = False
    settings: str | None = None
    sketch: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the model comes to see exactly this conversation.

    Continue from `base` (or from nothing), give it `feed` without asking, then ask `ask`.
    `name` and `reason` are what people read in headers, flows and the ledger. `whole` is all that
    comes before `ask`, where it is known: feeding it to a process that has been started already is
    often quicker than starting one at `base`.
    """

    name: PlanName
    reason: str
    base: Point | None
    feed: tuple[Message, ...]
    ask: Message
    whole: tuple[Message, ...] | None = None

    @property
    def from_nothing(self) -> Plan | None:
        """The same conversation without a base, where all of it is known."""
        if self.base is None:
            return self
        return None if self.whole is None else replace(self, base=None, feed=self.whole)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the model calls made for one request, as the API reported them. Of those written to
    the cache the ones `1h` are kept for an hour, the others for five minutes; where the API does
    not tell there are none."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_creation_input_tokens + other.cache_creation_input_tokens,
            self.cache_read_input_tokens + other.cache_read_input_tokens,
            self.cache_creation_1h_input_tokens + other.cache_creation_1h_input_tokens,
        )

    @property
    def counts(self) -> dict[str, int]:
        """As they are told beside an answer: the part for an hour only where there is one."""
        counts = asdict(self)
        if not self.cache_creation_1h_input_tokens:
            del counts["cache_creation_1h_input_tokens"]
        return counts

    @property
    def prompt_tokens(self) -> int:
        """All tokens the model read: fresh, written to the cache, and read from it."""
        return self.input_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens

    @property
    def cache_hit(self) -> float | None:
        """The share of the prompt read from the cache; None where no prompt was counted."""
        if not self.prompt_tokens:
            return None
        return self.cache_read_input_tokens / self.prompt_tokens


@dataclass(frozen=True, slots=True)
class Spent:
    """What the model calls of a turn have used as far as the API has told, while the turn is under
    way. `cost_usd` is an estimate until the CLI has told; `stop_reason` is the last one given."""

    model: str
    usage: Usage
    cost_usd: float | None
    stop_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A process has taken the plan, which it may carry out from nothing; it comes before all else.

    `session_id` is the session it is in, `command` the command line it equals, `told` the names of
    the settings that it had to be told for this turn, which took `told_ms` milliseconds.
    """

    plan: Plan
    session_id: str
    command: str
    process: Process
    told: tuple[str, ...] = ()
    told_ms: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """The model has begun to answer. Output tokens are not known yet. `told` is what else of its
    usage the API has told, in its own fields."""

    message_id: str
    model: str
    usage: Usage
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text. `block` counts the answer's content blocks from 0 and never goes back."""

    block: int
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """More of what the model thinks."""

    block: int
    text: str


@dataclass(frozen=True, slots=True)
class ThinkingSignature:
    """Ends a block of thinking; with it the client can send the block back."""

    block: int
    signature: str


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """A whole block of thinking that only the API can read."""

    block: int
    data: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model begins to call a tool of the client's; its input follows in pieces."""

    block: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolInput:
    """More of the JSON text of a call's input; all pieces together may be empty, for `{}`."""

    block: int
    json: str


@dataclass(frozen=True, slots=True)
class WholeBlock:
    """A block in one piece, which may still grow. The bridge's answers have none: it is what others
    tell of theirs, such as the result of a tool that has run at the API."""

    block: int
    value: Block


@dataclass(frozen=True, slots=True)
class Finished:
    """The model has finished; the last delta of every answer that succeeded.

    `session_id` is the session the CLI says it was, `entries` are the transcript entries of the
    messages that were fed, the one that was asked and the answer, in that order; None for one that
    nothing can go on from. `results_entry` is that of the last result of a call. Unless `exact`,
    the transcript holds another answer than the client got.
    `cost_usd` is this turn's own cost in US dollars, or None where it is not known. `stop_reason`
    is the Messages API's word (`end_turn`, `tool_use`, …), `stop_sequence` the one the answer ended
    at. `compacted` says that the CLI shortened the conversation on its own in this turn. `told` is
    what else the API has told of the usage of its last message, in its own fields, and
    `stop_details` what it has told of the reason. `limits` are its headers that tell how much of
    its limits a login has used, where that was known in time.
    """

    session_id: str
    entries: tuple[str | None, ...]
    stop_reason: str
    usage: Usage
    cost_usd: float | None
    compacted: bool = False
    exact: bool = True
    stop_sequence: str | None = None
    results_entry: str | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    stop_details: Mapping[str, Any] | None = None
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def tip(self) -> str | None:
        """The last entry that is known of the turn."""
        known = [entry for entry in self.entries if entry is not None]
        return known[-1] if known else self.results_entry

    @property
    def thinking_tokens(self) -> int:
        """How many of the output tokens were thoughts; 0 where the API has not told."""
        details = self.told.get("output_tokens_details")
        count = details.get("thinking_tokens") if isinstance(details, Mapping) else None
        return count if isinstance(count, int) else 0

    @property
    def explanation(self) -> str:
        """Why the API has refused, in its words for people; empty where it has not told."""
        told = (self.stop_details or {}).get("explanation")
        return told if self.stop_reason == "refusal" and isinstance(told, str) else ""


Said = (
    Started
    | TextDelta
    | ThinkingDelta
    | ThinkingSignature
    | RedactedThinking
    | ToolCall
    | ToolInput
)
"""What an answer is made of, until it ends."""

Delta = Said | Finished
