"""Talks with tools, as programs hold them that use the official client of the Responses API."""

from __future__ import annotations

import json
from typing import Any

from openai.types.responses import Response

from tests.support.tool_talks import Answer, Call, Client, Result, Talk, function_of


class Responses(Talk):
    """Sends all items each time."""

    stops = ("completed", "completed")

    def _spoken(self, text: str) -> list[Any]:
        return [{"role": "user", "content": text}]

    def _returned(self, call: Call, result: Result) -> list[Any]:
        return [{"type": "function_call_output", "call_id": call.id, "output": result.content}]

    def _answered(self, answer: Answer) -> list[Any]:
        said = [{"role": "assistant", "content": answer.text}] if answer.text else []
        made = [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps(call.input),
            }
            for call in answer.calls
        ]
        return [*said, *made]

    def _request(self, new: list[Any]) -> tuple[Answer, list[Any]]:
        return self._respond([*self._items, *new])

    def _respond(self, items: list[Any], **more: Any) -> tuple[Answer, list[Any]]:
        client = self._proxy.openai(self.headers)
        tools = [{"type": "function", "strict": False, **function_of(t)} for t in self.tools]
        request: Any = {"model": "gpt-5", "input": items, "tools": tools, **self.fields, **more}
        response: Response
        if self.stream:
            with client.responses.stream(**request) as stream:
                response = stream.get_final_response()
        else:
            response = client.responses.create(**request)
        calls = tuple(
            Call(item.call_id, item.name, json.loads(item.arguments))
            for item in response.output
            if item.type == "function_call"
        )
        self.response_id = response.id
        own = [item.to_dict(exclude_unset=True) for item in response.output]
        for item in own:
            item.pop("parsed_arguments", None)
        return Answer(response.output_text, calls, response.status or ""), own


class ResponsesStream(Responses):
    stream = True


class ResponsesChain(Responses):
    """Sends what is new, and names the response it goes on from."""

    response_id = ""

    def _request(self, new: list[Any]) -> tuple[Answer, list[Any]]:
        previous = {"previous_response_id": self.response_id} if self.response_id else {}
        return self._respond(new, **previous)


class ResponsesChainStream(ResponsesChain):
    stream = True


RESPONSES: list[Client] = [Responses, ResponsesStream, ResponsesChain, ResponsesChainStream]
