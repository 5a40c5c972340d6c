// The dashboard's page: asks for the figures every few seconds and shows them. All of it may have
// been written by others, so it only ever becomes text (`textContent`), never markup.

const PAUSE = 3000;
const NOTHING = "–";

const locale = navigator.language;
const whole = new Intl.NumberFormat(locale);
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });
const dollars = new Intl.NumberFormat(locale, {
  style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 4,
});
const seconds = new Intl.NumberFormat(locale, {
  style: "unit", unit: "second", maximumFractionDigits: 2,
});
const moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });

const known = (format, value) => (value === null ? NOTHING : format.format(value));
const date = (epoch) => new Date(epoch * 1000);
const byId = (id) => document.getElementById(id);
const promptTokens = (sums) =>
  sums.input_tokens + sums.cache_creation_input_tokens + sums.cache_read_input_tokens;

// -- elements ------------------------------------------------------------------------------------

function element(name, fields = {}, ...children) {
  const made = document.createElement(name);
  const { data = {}, ...rest } = fields;
  Object.assign(made.dataset, data);
  Object.assign(made, rest);
  made.append(...children.filter((child) => child !== null));
  return made;
}

const number = (text) => element("td", { className: "number" }, text);
const cell = (text) => element("td", {}, text ?? NOTHING);

function row(cells, testid) {
  return element("tr", { data: testid ? { testid } : {} }, ...cells);
}

function fill(body, rows, columns, nothing) {
  const none = element("tr", {}, element("td", { colSpan: columns, className: "quiet" }, nothing));
  body.replaceChildren(...(rows.length ? rows : [none]));
}

// -- figures -------------------------------------------------------------------------------------

const FIGURES = [
  ["turns", "Turns", (t) => t.turns, whole],
  ["cost", "Cost", (t) => t.cost_usd, dollars, unpriced],
  ["input", "Fresh input", (t) => t.input_tokens, whole],
  ["output", "Output", (t) => t.output_tokens, whole],
  ["cache-write", "Written to cache", (t) => t.cache_creation_input_tokens, whole],
  ["cache-read", "Read from cache", (t) => t.cache_read_input_tokens, whole],
  ["cache-hit", "Cache-hit rate", (t) => t.cache_hit, percent],
  ["starts-avoided", "Starts avoided", (t) => t.starts_avoided, whole],
];

const LIVE = [
  ["running", "Running", (l) => l.running, whole],
  ["waiting", "Waiting", (l) => l.waiting, whole],
  ["processes", "Processes", (l) => l.processes.live, whole, (l) => `+ ${l.processes.spares} spare`],
];

function unpriced(totals) {
  const count = totals.unpriced_turns;
  return count ? `+ ? (${whole.format(count)} without a price)` : "";
}

function figure([id, label, read, format, note], values) {
  const value = values ? read(values) : null;
  const shown = element(
    "dd", { data: { testid: `total-${id}`, value: value ?? "" } }, known(format, value),
  );
  const said = values && note ? note(values) : "";
  const below = said ? element("div", { className: "note" }, said) : null;
  return element("div", {}, element("dt", {}, label), shown, below);
}

function showFigures({ ledger, live }) {
  const totals = FIGURES.map((sum) => figure(sum, ledger && ledger.totals));
  byId("figures").replaceChildren(...totals, ...LIVE.map((count) => figure(count, live)));
}

// -- plots ---------------------------------------------------------------------------------------

const KINDS = [
  ["Fresh input", "input_tokens", "--input"],
  ["Written to cache", "cache_creation_input_tokens", "--cache-write"],
  ["Read from cache", "cache_read_input_tokens", "--cache-read"],
  ["Output", "output_tokens", "--output"],
];

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(extra) {
  const lines = {
    gridcolor: colour("--line"), zerolinecolor: colour("--line"), automargin: true,
    ticklabelstandoff: 6,
  };
  const { xaxis = {}, yaxis = {}, ...rest } = extra;
  return {
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    plot_bgcolor: "rgba(0, 0, 0, 0)",
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: colour("--card"), font: { color: colour("--ink") } },
    margin: { l: 48, r: 12, t: 8, b: 32 },
    uirevision: span(), // a part that somebody looks at closely stays in view
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: { ...lines, ...xaxis },
    yaxis: { ...lines, rangemode: "tozero", ...yaxis },
    ...rest,
  };
}

function draw(id, traces, extra, summary) {
  const target = byId(id);
  target.setAttribute("role", "img");
  target.setAttribute("aria-label", summary);
  Plotly.react(target, traces, layout(extra), { displayModeBar: false, responsive: true });
}

function times(ledger) {
  const step = ledger.bucket_seconds;
  const begins = ledger.series.map((bucket) => date(bucket.at));
  // A single bar would fill the whole plot, so there is room for a few on each side.
  const from = Math.min(...ledger.series.map((bucket) => bucket.at), ledger.until - 6 * step);
  const range = [date(from - step), date(ledger.until + step)];
  return { x: begins, width: 900 * step, xaxis: { type: "date", range } };
}

function bars(time, y, name, variable) {
  const { x, width } = time;
  return { type: "bar", x, y, width, offset: 0, name, marker: { color: colour(variable) } };
}

function line(time, y, name, variable) {
  return {
    type: "scatter", mode: "lines+markers", x: time.x, y, name,
    line: { color: colour(variable) },
  };
}

function drawTimes(ledger) {
  const time = times(ledger);
  const { xaxis } = time;
  const { series, totals } = ledger;
  const of = (name, factor = 1) => series.map((b) => (b[name] === null ? null : b[name] * factor));
  const tokens = KINDS.map(([name, field, variable]) => bars(time, of(field), name, variable));
  draw("plot-tokens", tokens, { barmode: "stack", xaxis },
    `Tokens over time: ${whole.format(promptTokens(totals))} in, ${whole.format(totals.output_tokens)} out`);
  draw("plot-cost", [bars(time, of("cost_usd"), "Cost", "--input")],
    { xaxis, yaxis: { tickprefix: "$" } }, `Cost over time: ${known(dollars, totals.cost_usd)}`);
  draw("plot-cache", [line(time, of("cache_hit"), "Cache hit", "--cache-read")],
    { xaxis, yaxis: { tickformat: ".0%", range: [0, 1.05] } },
    `Cache-hit rate over time: ${known(percent, totals.cache_hit)} in all`);
  const waits = [
    line(time, of("first_token_p50_ms", 0.001), "half of the turns", "--input"),
    line(time, of("first_token_p95_ms", 0.001), "95 % of the turns", "--output"),
  ];
  draw("plot-first-token", waits, { xaxis, yaxis: { ticksuffix: " s" } },
    "Seconds to the first token over time, at the 50th and 95th percentile");
}

function drawCounts(id, what, counts, variable) {
  const upward = most(counts).toReversed(); // the first row is drawn at the bottom
  const rows = upward.map((_, place) => place);
  const trace = {
    type: "bar", orientation: "h", marker: { color: colour(variable) },
    x: upward.map((one) => one.turns), y: rows,
    text: upward.map((one) => whole.format(one.turns)), textposition: "auto", cliponaxis: false,
    customdata: upward.map((one) => plain(one.name)), hovertemplate: "%{customdata}: %{x}<extra></extra>",
  };
  const ticktext = upward.map((one) => plain(clipped(one.name)));
  const summary = counts.map((one) => `${one.name} ${one.turns}`).join(", ");
  draw(id, [trace], { yaxis: { tickvals: rows, ticktext } }, `${what}: ${summary}`);
}

function most(counts, shown = 9) {
  if (counts.length <= shown) return counts;
  const turns = counts.slice(shown).reduce((sum, one) => sum + one.turns, 0);
  return [...counts.slice(0, shown), { name: "others", turns }];
}

const clipped = (name) => (name.length > 28 ? `${name.slice(0, 27)}…` : name);

// A name may be anything, and plotly reads a few tags in its texts.
const plain = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

let drawn = "";

function showPlots(ledger) {
  byId("plots").hidden = !ledger || !ledger.totals.turns;
  if (byId("plots").hidden) return;
  const { until, since: _, ...shown } = ledger;
  const wanted = JSON.stringify([dark.matches, Math.floor(until / 60), shown]);
  if (wanted === drawn) return;
  drawn = wanted;
  drawTimes(ledger);
  drawCounts("plot-processes", "How turns were answered", ledger.processes, "--cache-write");
  drawCounts("plot-plans", "Turns by plan", ledger.plans, "--input");
  drawCounts("plot-reasons", "Turns by reason", ledger.reasons, "--output");
  drawCounts("plot-models", "Turns by model", ledger.models, "--cache-read");
  drawCounts("plot-platforms", "Turns by platform", ledger.platforms, "--input");
}

// -- tables --------------------------------------------------------------------------------------

function showLive(turns) {
  const now = Date.now() / 1000;
  const rows = turns.map((turn) => row([
    cell(turn.platform), cell(turn.external_id), cell(planned(turn)), cell(turn.model),
    number(seconds.format(Math.max(0, now - turn.started_at))),
    number(turn.ttft_ms ? seconds.format(turn.ttft_ms / 1000) : NOTHING),
  ], "live-turn"));
  fill(byId("live"), rows, 6, "No turn is under way.");
}

const planned = ({ plan, reason }) => (plan ? `${plan} (${reason})` : NOTHING);

function address({ platform, external_id: id, provider }) {
  return `#conversation?${new URLSearchParams({ platform, id, provider })}`;
}

function sessionRow(session) {
  const link = element("a", { href: address(session) }, session.external_id);
  return row([
    element("td", { className: "name" }, link), cell(session.platform), cell(planned(session)),
    number(whole.format(session.turns)), number(short.format(promptTokens(session))),
    number(short.format(session.output_tokens)), number(known(percent, session.cache_hit)),
    number(known(dollars, session.cost_usd)), number(moment.format(date(session.last_used_at))),
    cell(cause(session)),
  ], "session");
}

function cause({ cause, imports, recent_turns: recent }) {
  if (cause) return `${cause} (${imports} of the last ${recent} turns)`;
  return imports ? `${imports} of the last ${recent} turns` : "";
}

function showSessions({ total, sessions }) {
  const focused = document.activeElement?.closest("#sessions a")?.getAttribute("href");
  fill(byId("sessions"), sessions.map(sessionRow), 10, "No session yet.");
  byId("sessions-note").textContent = total > sessions.length
    ? `The ${sessions.length} used last of ${whole.format(total)}. ` : "";
  if (focused) byId("sessions").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

// -- one conversation ----------------------------------------------------------------------------

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
  const counts = `${whole.format(turn.input_tokens)} in, ${whole.format(turn.output_tokens)} out, `
    + `${whole.format(turn.cache_read_input_tokens)} read + `
    + `${whole.format(turn.cache_creation_input_tokens)} written`;
  const first = turn.first_token_ms === null
    ? [] : [`first token ${seconds.format(turn.first_token_ms / 1000)}`];
  return [
    turn.model, counts, known(dollars, turn.cost_usd), moment.format(date(turn.started_at)),
    ...first, seconds.format(turn.duration_ms / 1000), `session ${turn.session}`,
  ].join(" · ");
}

function turnCard(turn) {
  const ended = turn.status === "end_turn" ? "" : ` [${turn.status}]`;
  const told = turn.messages === null
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

function showConversation({ platform, external_id: id, turns }) {
  const children = childrenOf(turns);
  const cost = turns.reduce((sum, turn) => sum + (turn.cost_usd ?? 0), 0);
  byId("conversation-title").textContent = `${platform}: ${id}`;
  byId("conversation-note").textContent = `${whole.format(turns.length)} turns, `
    + `${dollars.format(cost)}. Texts are read from the CLI's transcripts.`;
  byId("turns").replaceChildren(...children(null).flatMap((first) => lineFrom(first, children)));
}

// -- what is looked at ---------------------------------------------------------------------------

let view = null; // the conversation's parameters, or null for the overview
let newest = null; // the newest turn of the conversation that is shown
let listed = null; // what the list of sessions was when it was last asked for

const span = () => document.querySelector("#spans input:checked").value;

function go() {
  const [name, query] = location.hash.slice(1).split("?");
  view = name === "conversation" ? new URLSearchParams(query) : null;
  newest = null;
  byId("overview").hidden = view !== null;
  byId("conversation").hidden = view === null;
  byId("turns").replaceChildren();
  byId("conversation-note").textContent = "";
  byId("conversation-title").textContent = view ? `${view.get("platform")}: ${view.get("id")}` : "";
  document.title = view ? `${view.get("id")} – Session bridge` : "Session bridge";
  if (view) byId("conversation-title").focus();
  drawn = "";
  refresh();
}

// -- asking --------------------------------------------------------------------------------------

class Refusal extends Error {}
class Lost extends Error {}

async function ask(path) {
  try {
    const answer = await fetch(path, { method: "POST", cache: "no-store" });
    return [answer, answer.status === 204 ? null : await answer.json()];
  } catch (cause) {
    throw new Lost("no answer that this page understands", { cause });
  }
}

async function load(path) {
  const [answer, content] = await ask(path);
  if (!answer.ok) throw new Refusal(content.error);
  return content;
}

async function loadOverview(current) {
  const overview = await load(`api/overview?since=${span()}`);
  if (!current()) return;
  const { ledger, live } = overview;
  byId("unkept").hidden = ledger !== null;
  byId("empty").hidden = ledger === null || ledger.totals.turns > 0;
  showFigures(overview);
  showPlots(ledger);
  showLive(live.turns);
  const state = JSON.stringify(ledger && [ledger.totals, Math.floor(ledger.until / 60), live.turns.length]);
  if (state === listed) return;
  const sessions = await load("api/sessions");
  if (!current()) return;
  listed = state;
  showSessions(sessions);
}

async function loadConversation(current) {
  const query = new URLSearchParams(view);
  if (newest !== null) query.set("newest", newest);
  const conversation = await load(`api/conversation?${query}`);
  if (conversation === null || !current()) return;
  newest = conversation.turns.at(-1).id;
  showConversation(conversation);
}

function tell(state, text, trouble = "") {
  const connection = byId("connection");
  connection.classList.toggle("lost", state === "lost");
  connection.dataset.state = state;
  connection.textContent = text;
  byId("trouble").textContent = trouble;
  byId("trouble").hidden = !trouble;
}

let round = 0;
let timer = 0;

async function refresh() {
  clearTimeout(timer);
  const mine = ++round;
  const current = () => mine === round;
  try {
    await (view ? loadConversation(current) : loadOverview(current));
    if (current()) tell("live", `Updated ${clock.format(new Date())}`);
  } catch (error) {
    if (current()) explain(error);
  } finally {
    if (current() && !document.hidden) timer = setTimeout(refresh, PAUSE);
  }
}

function explain(error) {
  if (error instanceof Refusal) tell("live", "Connected", error.message);
  else if (error instanceof Lost) tell("lost", "Connection lost. Trying again…");
  else throw error;
}

function skip(event) {
  event.preventDefault(); // the address is for what is looked at
  byId("main").focus();
}

function begin() {
  addEventListener("hashchange", go);
  dark.addEventListener("change", refresh);
  byId("spans").addEventListener("change", refresh);
  byId("skip").addEventListener("click", skip);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else refresh();
  });
  go();
}

begin();
