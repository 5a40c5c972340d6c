// An agent as people write them for Node: streams, calls tools until the model is content.
// BASE_URL is the proxy's; PROMPT the question. Prints what was called and the last words as JSON.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: process.env.BASE_URL,
  apiKey: "sk-ant-client-key",
  defaultHeaders: JSON.parse(process.env.HEADERS),
  maxRetries: 0,
});
const tools = ["look", "note"].map((name) => ({
  name,
  description: `Does ${name}.`,
  input_schema: { type: "object", properties: { step: { type: "integer" } }, required: ["step"] },
}));
const results = JSON.parse(process.env.RESULTS);
const messages = [{ role: "user", content: process.env.PROMPT }];
const called = [];

for (;;) {
  const request = { model: "claude-sonnet-5", max_tokens: 500, tools, messages };
  const answer =
    called.length % 2 === 0
      ? await client.messages.stream(request).finalMessage()
      : await client.messages.create(request);
  messages.push({ role: "assistant", content: answer.content });
  const calls = answer.content.filter((block) => block.type === "tool_use");
  if (calls.length === 0) {
    const text = answer.content.map((block) => block.text ?? "").join("");
    console.log(JSON.stringify({ called, text, stop: answer.stop_reason }));
    break;
  }
  called.push(...calls.map((call) => [call.name, call.input.step]));
  const content = calls.map((call) => ({
    type: "tool_result",
    tool_use_id: call.id,
    content: results[`${call.name} ${call.input.step}`],
  }));
  messages.push({ role: "user", content });
}
