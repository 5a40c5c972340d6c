// The tool runner as it comes: it asks the API to hold the conversation and sends what is new.
// BASE_URL is the proxy's, PROMPT the question; STREAM is empty or not. The first call of the tool
// with n = 2 says "waiting" and goes on when there is a line to read. Prints the history as JSON.
import { createInterface } from "node:readline/promises";
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";

const client = new Anthropic({
  baseURL: process.env.BASE_URL,
  apiKey: "sk-ant-node-key",
  maxRetries: 0,
});
const input = createInterface({ input: process.stdin });
const step = betaTool({
  name: "step",
  description: "Goes on.",
  inputSchema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] },
  run: async ({ n }) => {
    if (n === 2) {
      console.log("waiting");
      await input.question("");
    }
    return n < 4 ? `${n} done [call step {"n": ${n + 1}}]` : `${n} done`;
  },
});
const stream = Boolean(process.env.STREAM);
const messages = [{ role: "user", content: process.env.PROMPT }];
const runner = client.beta.messages.toolRunner({
  model: "claude-sonnet-5",
  max_tokens: 500,
  system: "Be kind.",
  messages: [...messages],
  tools: [step],
  stream,
});
for await (const part of runner) {
  const message = stream ? await part.finalMessage() : part;
  messages.push({ role: "assistant", content: message.content });
  const results = await runner.generateToolResponse();
  if (results) messages.push(results);
}
console.log(JSON.stringify(messages));
input.close();
