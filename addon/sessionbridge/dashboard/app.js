// The dashboard's page: asks for the figures every few seconds and shows them.

import { showConversation, titled } from "./conversation.js";
import {
  NOTHING, byId, cell, clock, cost, date, dollars, element, fill, known, moment, number, percent,
  planned, promptTokens, row, seconds, short, span, whole,
} from "./elements.js";
import { dark, forgetDrawn, showPlots } from "./plots.js";
import { showSpending } from "./spending.js";

const PAUSE = 3000;

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

// -- tables --------------------------------------------------------------------------------------

const whose = ({ client }) => element("td", { className: "whose" }, client || NOTHING);

// The column of clients is there where one of these has any.
function fillOf(ones, body, ...rest) {
  body.closest("table").classList.toggle("of-clients", ones.some((one) => one.client));
  fill(body, ...rest);
}

function showLive(turns) {
  const now = Date.now() / 1000;
  const rows = turns.map((turn) => row([
    whose(turn), cell(turn.platform), cell(turn.external_id), cell(planned(turn)), cell(turn.model),
    number(seconds.format(Math.max(0, now - turn.started_at))),
    number(turn.ttft_ms ? seconds.format(turn.ttft_ms / 1000) : NOTHING),
  ], "live-turn"));
  fillOf(turns, byId("live"), rows, 7, "No turn is under way.");
}

function address({ client, platform, external_id: id, provider }) {
  const whose = client === null ? {} : { client };
  return `#conversation?${new URLSearchParams({ ...whose, platform, id, provider })}`;
}

function sessionRow(session) {
  const link = element("a", { href: address(session) }, session.external_id);
  return row([
    element("td", { className: "name" }, link), whose(session), cell(session.platform),
    cell(planned(session)),
    number(whole.format(session.turns)), number(short.format(promptTokens(session))),
    number(short.format(session.output_tokens)), number(known(percent, session.cache_hit)),
    number(cost(session.cost_usd, session.unpriced_turns)),
    number(moment.format(date(session.last_used_at))), cell(cause(session)),
  ], "session");
}

function cause({ likely_cause: cause, imports, recent_turns: recent }) {
  if (cause) return `${cause} (${imports} of the last ${recent} turns)`;
  return imports ? `${imports} of the last ${recent} turns` : "";
}

function showSessions({ total, sessions }) {
  const focused = document.activeElement?.closest("#sessions a")?.getAttribute("href");
  fillOf(sessions, byId("sessions"), sessions.map(sessionRow), 11, "No session yet.");
  byId("sessions-note").textContent = total > sessions.length
    ? `The ${sessions.length} used last of ${whole.format(total)}. ` : "";
  if (focused) byId("sessions").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

// -- what is looked at ---------------------------------------------------------------------------

let view = null; // the conversation's parameters, or null for the overview
let newest = null; // the newest turn of the conversation that is shown
let listed = null; // what the list of sessions was when it was last asked for

function go() {
  const [name, query] = location.hash.slice(1).split("?");
  view = name === "conversation" ? new URLSearchParams(query) : null;
  newest = null;
  byId("overview").hidden = view !== null;
  byId("conversation").hidden = view === null;
  byId("turns").replaceChildren();
  byId("conversation-note").textContent = "";
  byId("conversation-title").textContent = view
    ? titled(view.get("client"), view.get("platform"), view.get("id")) : "";
  document.title = view ? `${view.get("id")} – Session bridge` : "Session bridge";
  if (view) byId("conversation-title").focus();
  forgetDrawn();
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
  showSpending(ledger);
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
