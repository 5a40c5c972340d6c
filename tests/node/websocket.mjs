// The official client's WebSocket for Node: two turns, of which the second goes on by the id of the
// first. BASE_URL is the API's address; PROXY, where it is given, the proxy that leads there, and
// CA the certificate it is trusted by. Prints the types of the events and what was said.
import { readFileSync } from "node:fs";
import http from "node:http";
import tls from "node:tls";
import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const options = { headers: JSON.parse(process.env.HEADERS) };
if (process.env.PROXY) {
  const { hostname: host, port } = new URL(process.env.PROXY);
  const target = new URL(process.env.BASE_URL).hostname;
  const asked = http.request({ host, port, method: "CONNECT", path: `${target}:443` });
  const socket = await new Promise((led) => asked.on("connect", (_, to) => led(to)).end());
  const ca = readFileSync(process.env.CA);
  options.createConnection = () => tls.connect({ socket, servername: target, ca });
}
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "sk-client-key" });
const ws = new ResponsesWS(client, options);
const events = ws.stream();
const told = { types: [], said: [] };

for (const input of ["My name is Bob.", "What is my name?"]) {
  const previous_response_id = told.last;
  ws.send({ type: "response.create", model: "gpt-5", input, previous_response_id, store: false });
  for await (const event of { [Symbol.asyncIterator]: () => ({ next: () => events.next() }) }) {
    if (event.type === "error") throw event.error;
    if (event.type !== "message") continue;
    told.types.push(event.message.type);
    if (event.message.type !== "response.completed") continue;
    told.last = event.message.response.id;
    told.said.push(event.message.response.output[0].content[0].text);
    break;
  }
}
ws.close();
console.log(JSON.stringify(told));
