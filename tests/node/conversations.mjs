// A conversation by the official client for Node: created, gone on with, listed page by page,
// deleted. BASE_URL is the API's address. Prints what was said.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "sk-client-key" });
const items = [{ role: "user", content: "My name is Bob." }, { role: "assistant", content: "Hi." }];
const { id } = await client.conversations.create({ items, metadata: { of: "a test" } });
const { output_text: answer } = await client.responses.create({
  model: "gpt-5",
  input: "What is my name?",
  conversation: id,
});
const listed = [];
for await (const item of client.conversations.items.list(id, { order: "asc", limit: 2 }))
  listed.push(item.content[0].text);
const { deleted } = await client.conversations.delete(id);
console.log(JSON.stringify({ answer, listed, deleted }));
