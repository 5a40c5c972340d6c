// One conversation: its turns one below the other, branches beside them.

import { byId, cost, date, element, moment, planned, seconds, short, whole } from "./elements.js";

const BLOCKS = {
  text: ({ text }) => element("div", { className: "text" }, text),
  thinking: ({ text }) => folded("Thinking", element("div", { className: "text" }, text || "(not shown)")),
  call: toolCall,
  result: (result) => toolResult(result, "Result of a call that is not shown"),
  image: (image) => placeholder("Image", image),
  document: (paper) => placeholder("Document", paper),
  other: ({ kind }) => element("span", { className: "placeholder" }, kind),
};

const block = (shown) => BLOCKS[shown.type](shown);

function folded(title, ...children) {
  return element("details", {}, element("summary", {}, title), ...children);
}

function placeholder(name, { media_type: kind, bytes }) {
  const size = bytes === null ? "" : `, ${short.format(bytes)} bytes`;
  return element("span", { className: "placeholder" }, `${name} (${kind ?? "by its address"}${size})`);
}

function toolCall(call) {
  const results = call.results.map((result) => toolResult(result, `Result, in turn ${result.turn}`));
  const made = folded(
    `Tool call: ${call.name}`, element("pre", {}, call.input),
    ...(results.length ? results : [element("p", { className: "quiet" }, "No result.")]),
  );
  made.dataset.testid = "call";
  made.open = true;
  return made;
}

function toolResult(result, title) {
  const heading = element("p", { className: `role${result.error ? " failed" : ""}` },
    result.error ? `${title} (an error)` : title);
  return element("div", { data: { testid: "result" } }, heading, ...result.blocks.map(block));
}

function message({ role, blocks }) {
  const who = element("p", { className: "role" }, role === "user" ? "Client" : "Model");
  return element("div", { className: `message ${role}` }, who, ...blocks.map(block));
}

function facts(turn) {
  const kept = turn.cache_creation_1h_input_tokens;
  const hour = kept ? ` (${whole.format(kept)} for an hour)` : "";
  const counts = `${whole.format(turn.input_tokens)} in, ${whole.format(turn.output_tokens)} out, `
    + `${whole.format(turn.cache_read_input_tokens)} read + `
    + `${whole.format(turn.cache_creation_input_tokens)} written${hour}`;
  const first = turn.ttft_ms === null
    ? [] : [`first token ${seconds.format(turn.ttft_ms / 1000)}`];
  return [
    turn.model, counts, cost(turn.cost_usd, turn.cost_usd === null), moment.format(date(turn.started_at)),
    ...first, seconds.format(turn.duration_ms / 1000), `session ${turn.session}`,
  ].join(" · ");
}

function turnCard(turn) {
  const ended = turn.status === "end_turn" ? "" : ` [${turn.status}]`;
  const told = turn.session === ""
    ? [element("p", { className: "gone" }, "Nothing is kept of it: it did not come to its end.")]
    : turn.messages === null
    ? [element("p", { className: "gone" }, "The transcript is gone.")]
    : turn.messages.map(message);
  return element("div", { className: "turn", id: `turn-${turn.id}`, data: { testid: "turn" } },
    element("h3", {}, `Turn ${turn.id}: ${planned(turn)}${ended}`),
    element("p", { className: "quiet" }, facts(turn)), ...told);
}

function childrenOf(turns) {
  const children = Map.groupBy(turns, (turn) => turn.parent);
  return (turn) => children.get(turn === null ? null : turn.id) ?? [];
}

// What goes on in the same session stands below; every other way to go on is a branch.
function follower(turn, children) {
  const same = children.find((child) => child.session === turn.session);
  return same ?? children.at(-1);
}

function lineFrom(first, children) {
  const cards = [];
  for (let turn = first; turn; ) {
    cards.push(turnCard(turn));
    const below = children(turn);
    const next = follower(turn, below);
    cards.push(...below.filter((child) => child !== next).map((child) => branch(child, children)));
    turn = next;
  }
  return cards;
}

function branch(first, children) {
  const label = `Branch that begins with turn ${first.id}`;
  const cards = lineFrom(first, children);
  const made = element("div", { className: "branch", data: { testid: "branch" } }, ...cards);
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  return made;
}

function total(turns) {
  const prices = turns.map((turn) => turn.cost_usd).filter((price) => price !== null);
  const sum = prices.length ? prices.reduce((one, other) => one + other) : null;
  return cost(sum, prices.length < turns.length);
}

export const titled = (client, platform, id) =>
  `${client ? `${client}, ` : ""}${platform}: ${id}`;

export function showConversation({ client, platform, external_id: id, turns }) {
  const children = childrenOf(turns);
  const count = `${whole.format(turns.length)} ${turns.length === 1 ? "turn" : "turns"}`;
  byId("conversation-title").textContent = titled(client, platform, id);
  byId("conversation-note").textContent =
    `${count}, ${total(turns)}. Texts are read from the CLI's transcripts.`;
  byId("turns").replaceChildren(...children(null).flatMap((first) => lineFrom(first, children)));
}
