// The plots over time and of counts.

import { NOBODY, byId, date, dollars, known, percent, promptTokens, span, whole } from "./elements.js";

const KINDS = [
  ["Fresh input", "input_tokens", "--input"],
  ["Written to cache", "cache_creation_input_tokens", "--cache-write"],
  ["Read from cache", "cache_read_input_tokens", "--cache-read"],
  ["Output", "output_tokens", "--output"],
];

export const dark = matchMedia("(prefers-color-scheme: dark)");
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
  // Milliseconds, and a tenth less than a step, so that neighbours stand apart.
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
    line(time, of("ttft_p50_ms", 0.001), "half of the turns", "--input"),
    line(time, of("ttft_p95_ms", 0.001), "95 % of the turns", "--output"),
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

// Where there are none to tell apart there is no plot.
function drawSpenders(id, what, spenders, variable) {
  byId(id).parentElement.hidden = !spenders.length;
  if (!spenders.length) return;
  const counts = spenders.map(({ name, turns }) => ({ name: name || NOBODY, turns }));
  drawCounts(id, what, counts.toSorted((one, other) => other.turns - one.turns), variable);
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

// What was drawn while nobody saw it has no size.
export function forgetDrawn() {
  drawn = "";
}

export function showPlots(ledger) {
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
  drawSpenders("plot-clients", "Turns by client", ledger.clients, "--cache-write");
  drawSpenders("plot-providers", "Turns by provider", ledger.providers, "--cache-read");
}
