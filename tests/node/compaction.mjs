// The official tool runner for Node, which has the conversation compacted after its first turn.
// BASE_URL is the proxy's; PROMPT the question. Prints how each turn ended as JSON.
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";

const client = new Anthropic({
  baseURL: process.env.BASE_URL,
  apiKey: "sk-ant-client-key",
  defaultHeaders: JSON.parse(process.env.HEADERS),
  maxRetries: 0,
});
const look = betaTool({
  name: "look",
  description: "Looks.",
  inputSchema: { type: "object", properties: { step: { type: "integer" } } },
  run: ({ step }) => `seen ${step}`,
});
const runner = client.beta.messages.toolRunner({
  model: "claude-sonnet-5",
  max_tokens: 500,
  messages: [{ role: "user", content: process.env.PROMPT }],
  tools: [look],
  betas: ["compact-2026-09-04"],
  stream: true,
});
const stops = [];
for await (const stream of runner) {
  const message = await stream.finalMessage();
  if (stops.length === 0) {
    runner.compactBeforeNextTurn({ type: "summarize", instructions: process.env.INSTRUCTIONS });
  }
  stops.push([message.stop_reason, message.content.map((block) => block.type)]);
}
console.log(JSON.stringify(stops));
