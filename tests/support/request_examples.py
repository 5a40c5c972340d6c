"""The APIs as the official packages have them, and valid requests for what their types alone do not
tell."""

from __future__ import annotations

import json
from dataclasses import replace

from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming as Messages
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as Chat
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as Post
from openai.types.responses.responses_client_event_param import ResponseCreate

from tests.support.request_outcomes import Api, Fields, effect_of, effect_of_frame, sent_by
from tests.support.request_types import hints_of, least, value_of

HI: Fields = {"role": "user", "content": "Hi"}
SCHEMA: Fields = {"type": "object"}
TEXT: Fields = {"type": "text", "text": "So."}
URL = "https://example.com/a.png"

# Messages

LOOK: Fields = {"name": "look", "input_schema": SCHEMA}
CALL: Fields = {"type": "tool_use", "id": "x", "name": "look", "input": {}}
SERVER_CALL = CALL | {"type": "server_tool_use"}
MCP_CALL = CALL | {"type": "mcp_tool_use", "server_name": "x"}
CONTINUED: Fields = {"type": "continue", "previous_message_id": "msg_sb1"}
ADAPTIVE: Fields = {"thinking": {"type": "adaptive"}}
CHANGED: Fields = {"type": "tool_reference", "name": "look"}


def result(kind: str) -> Fields:
    return {"type": kind, "tool_use_id": "x", "content": "x"}


def said(*blocks: Fields) -> Fields:
    """A history in which the assistant has said them."""
    return {"messages": [HI, {"role": "assistant", "content": [TEXT, *blocks]}, HI]}


def asked(*blocks: Fields) -> Fields:
    """A message of the user's with them."""
    return {"messages": [{"role": "user", "content": [*blocks]}]}


def instructed(**fields: object) -> Fields:
    return {"messages": [HI, {"role": "system", **fields}]}


ANSWERED: Fields = {
    "messages": [
        *(HI, {"role": "assistant", "content": [CALL]}),
        {"role": "user", "content": [result("tool_result")]},
    ]
}
SERVER_RESULTS = (
    "web_search_tool_result",
    "web_fetch_tool_result",
    "advisor_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
)
OF_ANSWERS = {
    "thinking": said({"type": "thinking", "thinking": "x", "signature": "x"}),
    "redacted_thinking": said({"type": "redacted_thinking", "data": "x"}),
    "server_tool_use": said(SERVER_CALL),
    **{kind: said(SERVER_CALL, result(kind)) for kind in SERVER_RESULTS},
    "mcp_tool_use": said(MCP_CALL, result("mcp_tool_result")),
    "mcp_tool_result": said(MCP_CALL, result("mcp_tool_result")),
    "container_upload": said({"type": "container_upload", "file_id": "x"}),
    "compaction": said({"type": "compaction", "content": "x"}),
    "mcp_tool_listing": said({"type": "mcp_tool_listing", "server_name": "x", "tools": []}),
    "fallback": said({"type": "fallback", "from": {"model": "x"}, "to": {"model": "y"}}),
}
FOUND: Fields = {"type": "search_result", "source": "x", "title": "x", "content": [TEXT]}

MESSAGES = Api(
    Messages,
    {"model": "m", "max_tokens": 2000, "messages": [HI]},
    lambda fields: sent_by(lambda client, _: client.beta.messages.create(**fields)).body,
    effect_of("messages"),
    beside={
        "tool_choice": {"tools": [LOOK]},
        **{f"messages.content.{kind}": said() for kind in OF_ANSWERS},
        "messages.content.thinking": said() | ADAPTIVE,
        "messages.content.redacted_thinking": said() | ADAPTIVE,
    },
    requests={
        **{f"messages.content.{kind}": request for kind, request in OF_ANSWERS.items()},
        "messages.content.tool_use": ANSWERED,
        "messages.content.search_result": asked(FOUND),
        **{
            f"messages.content.{kind}": instructed(content=[{"type": kind, "tool": CHANGED}])
            for kind in ("tool_addition", "tool_removal")
        },
        "messages.role.assistant": said(),
        "messages.role.system": instructed(content="x"),
        "messages.clear_at": instructed(content="x", clear_at="next_user_message"),
        "messages.output_config": instructed(output_config={"effort": "low"}),
    },
    values={
        "model": "another",
        "max_tokens": 1000,
        "messages.content": "x",
        "messages.content.source": {"type": "url", "url": URL},
        "tools.input_schema": SCHEMA,
        "tools.allowed_callers": ["code_execution_20260521"],
        "tool_choice": {"type": "none"},
        "tool_choice.name": "look",
        "thinking.budget_tokens": 1024,
        "thread.continue": CONTINUED,
        "thread.previous_message_id": CONTINUED["previous_message_id"],
        "thinking.display": "omitted",
        "output_config.format.schema": SCHEMA,
        "billing_policy": {"type": "billing_policy", "bill_to": "user_profile"},
        "service_tier": "standard_only",
        "speed": "fast",
    },
    whole=("system", "tools.input_schema"),
    kinds_alone=("messages.content",),
)

# Chat Completions

FUNCTION: Fields = {"name": "look", "arguments": "{}"}
CHAT_CALL: Fields = {"id": "x", "type": "function", "function": FUNCTION}
FILE = {"file_data": "data:text/plain;base64,eA=="}


def chatted(*messages: Fields) -> Fields:
    return {"messages": [HI, *messages, HI]}


TOOL_ANSWERED = chatted(
    {"role": "assistant", "tool_calls": [CHAT_CALL]},
    {"role": "tool", "tool_call_id": "x", "content": "x"},
)
FUNCTION_ANSWERED = chatted(
    {"role": "assistant", "function_call": FUNCTION},
    {"role": "function", "name": "look", "content": "x"},
)

CHAT = Api(
    Chat,
    {"model": "m", "messages": [HI]},
    lambda fields: sent_by(lambda _, client: client.chat.completions.create(**fields)).body,
    effect_of("chat"),
    beside={
        "tool_choice": {"tools": [{"type": "function", "function": {"name": "look"}}]},
        "tool_choice.custom": {"tools": [{"type": "custom", "custom": {"name": "look"}}]},
        "function_call": {"functions": [{"name": "look"}]},
        "stream_options": {"stream": True},
    },
    requests={
        **{
            f"messages.role.{role}": chatted({"role": role, "content": "x"})
            for role in ("assistant", "system", "developer", "user")
        },
        "messages.role.tool": TOOL_ANSWERED,
        "messages.tool_calls": TOOL_ANSWERED,
        "messages.tool_call_id": TOOL_ANSWERED,
        "messages.role.function": FUNCTION_ANSWERED,
        "messages.function_call": FUNCTION_ANSWERED,
        "messages.refusal": chatted({"role": "assistant", "refusal": "x"}),
        "messages.audio": chatted({"role": "assistant", "content": "x", "audio": {"id": "x"}}),
        "messages.name": {"messages": [HI | {"name": "x"}]},
        "messages.content.refusal": chatted(
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "x"}]}
        ),
        "messages.content.image_url": asked({"type": "image_url", "image_url": {"url": URL}}),
        "messages.content.file": asked({"type": "file", "file": FILE}),
        "messages.content.input_audio": asked(
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}
        ),
    },
    values={
        "model": "another",
        "messages.content": "x",
        "n": 2,
        "tools.function.parameters": SCHEMA,
        "tools.custom.format": {
            "type": "grammar",
            "grammar": {"syntax": "lark", "definition": "x"},
        },
        "tool_choice.function.name": "look",
        "tool_choice.custom.name": "look",
        "tool_choice.allowed_tools.tools": [],
        "stream_options": {"include_usage": True},
        "functions.parameters": SCHEMA,
        "function_call.name": "look",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "response_format.json_schema.*": {"schema": SCHEMA},
        "reasoning_effort": "low",
        "verbosity": "low",
        "modalities": ["audio"],
        "service_tier": "priority",
    },
    whole=("messages.function_call", "messages.tool_calls", "tools.custom.format"),
    kinds_alone=("messages.content",),
)

# Responses

ITEMS = value_of(hints_of(Post)["input"])
MESSAGE: Fields = {"type": "message", "role": "user", "content": "Hi"}
LOOK_TOOL: Fields = {"type": "function", "name": "look", "parameters": SCHEMA}
EFFORT: Fields = {"effort": "low"}
RESULTS = {
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "function_call": "function_call_output",
    "local_shell_call": "local_shell_call_output",
    "mcp_approval_request": "mcp_approval_response",
    "program": "program_output",
    "shell_call": "shell_call_output",
    "tool_search_call": "tool_search_output",
}
CALLS = {output: call for call, output in RESULTS.items()}


def item(kind: str) -> Fields:
    given = {"input.tools.strict": False, "input.tools.parameters": SCHEMA}
    found = least(kind, ITEMS.forms[kind][0], "input", given)
    match kind:
        case "message":
            return found | MESSAGE
        case "mcp_approval_response":
            return found | {"approval_request_id": "x"}
    return found | {"id": "x", "call_id": "x"}


def with_item(kind: str) -> Fields:
    """A history with an item of that kind; a call has its result, and a result its call."""
    call = CALLS.get(kind, kind)
    there = [item(call), item(RESULTS[call])] if call in RESULTS else [item(kind)]
    return {"input": [MESSAGE, *there, MESSAGE]}


RESPONSES = Api(
    Post,
    {"model": "m", "input": "Hi"},
    lambda fields: sent_by(lambda _, client: client.responses.create(**fields)).body,
    effect_of("responses"),
    beside={
        **{f"input.{kind}": {"input": [MESSAGE, MESSAGE]} for kind in ITEMS.kinds},
        "tool_choice": {"tools": [LOOK_TOOL]},
        "tool_choice.custom": {"tools": [{"type": "custom", "name": "look"}]},
        "stream_options": {"stream": True},
        "reasoning.summary": {"reasoning": EFFORT},
        "reasoning.generate_summary": {"reasoning": EFFORT},
    },
    requests={
        **{f"input.{kind}": with_item(kind) for kind in ITEMS.kinds},
        "tools.strict": {"tools": [LOOK_TOOL | {"strict": True}]},
        "tool_choice.mode": {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}},
    },
    values={
        "model": "another",
        "store": False,
        "previous_response_id": "resp_x",
        "tools.parameters": SCHEMA,
        "tools.strict": False,
        "tools.format": {"type": "grammar", "syntax": "lark", "definition": "x"},
        "tools.tools": [LOOK_TOOL],
        "tool_choice.name": "look",
        "tool_choice.tools": [],
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_object"}},
        "text.format": {"type": "json_object"},
        "text.format.schema": SCHEMA,
        "text.verbosity": "low",
        "reasoning": EFFORT,
        "reasoning.*": EFFORT,
        "reasoning.effort": "low",
        "reasoning.context": "all_turns",
        "reasoning.mode": "pro",
        "prompt_cache_options": {"mode": "explicit"},
        "service_tier": "priority",
        "truncation": "auto",
    },
    whole=("include", "tools.tools", "tools.format"),
    kinds_alone=("input",),
)

FRAMES = replace(
    RESPONSES,
    form=ResponseCreate,
    base={"type": "response.create", **RESPONSES.base},
    send=lambda fields: json.dumps(fields).encode(),
    effect=effect_of_frame,
    values={**RESPONSES.values, "generate": False},
)

APIS = {
    "Messages": MESSAGES,
    "Chat Completions": CHAT,
    "Responses": RESPONSES,
    "WebSocket": FRAMES,
}
"""By the headings of the page; a frame of a WebSocket has what a request by POST has."""
