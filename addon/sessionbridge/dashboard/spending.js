// Who used what: clients and providers, budgets, and the plans of logins. Each is there only where
// there is something to tell.

import {
  NOBODY, byId, cell, cost, date, dollars, element, known, moment, number, percent, promptTokens,
  row, short, whole,
} from "./elements.js";

const HEADINGS = ["Turns", "Prompt", "Output", "Cache hit", "Cost"];

function spender(sums) {
  return row([
    cell(sums.name || NOBODY), number(whole.format(sums.turns)),
    number(short.format(promptTokens(sums))), number(short.format(sums.output_tokens)),
    number(known(percent, sums.cache_hit)), number(cost(sums.cost_usd, sums.unpriced_turns)),
  ], "spender");
}

function heading(text, ...classes) {
  return element("th", { scope: "col", className: classes.join(" ") }, text);
}

function table(what, spenders) {
  const headings = row([heading(what), ...HEADINGS.map((text) => heading(text, "number"))]);
  return element("table", {}, element("thead", {}, headings),
    element("tbody", {}, ...spenders.map(spender)));
}

function showTable(id, what, spenders) {
  const section = byId(id);
  section.hidden = !spenders.length;
  section.querySelector(".scroll").replaceChildren(...(spenders.length ? [table(what, spenders)] : []));
}

// A bar that says in words, too, how long it is.
function meter({ name, share, told, note }) {
  const level = share >= 1 ? "full" : share >= 0.8 ? "high" : "";
  const fill = element("div", { className: "fill" });
  fill.style.width = `${100 * Math.min(1, share ?? 0)}%`;
  const bar = element("div", { className: `bar ${level}`, role: "meter", ariaLabel: name }, fill);
  Object.assign(bar, {
    ariaValueMin: "0", ariaValueMax: "1", ariaValueNow: String(Math.min(1, share ?? 0)),
    ariaValueText: told,
  });
  return element("div", { className: "meter", data: { testid: "meter" } },
    element("div", { className: "name" }, name), bar,
    element("div", { className: "told" }, told), element("div", { className: "quiet" }, note));
}

const when = (epoch) => moment.format(date(epoch));

function planWindow(one, now) {
  const name = `${one.provider}, ${one.window}`;
  if (one.resets_at !== null && one.resets_at <= now) {
    return meter({ name, share: null, told: "not known", note: `has reset, ${when(one.resets_at)}` });
  }
  const rate = one.used_per_hour === null ? "" : `, ${percent.format(one.used_per_hour)} an hour`;
  const resets = one.resets_at === null ? "" : `resets ${when(one.resets_at)}`;
  const full = one.full_at === null ? "" : `, at this rate full ${when(one.full_at)}`;
  return meter({
    name,
    share: one.used,
    told: one.used === null ? "not known" : `${percent.format(one.used)}${rate}`,
    note: `${resets}${full}`,
  });
}

function budget(one) {
  const format = one.tokens === null ? dollars : whole;
  const unit = one.tokens === null ? "" : " tokens";
  return meter({
    name: `${one.of} ${one.name}, a ${one.per}`,
    share: one.share,
    told: `${format.format(one.used)} of ${format.format(one.usd ?? one.tokens)}${unit}`,
    note: `until ${when(one.until)}`,
  });
}

function showMeters(id, meters) {
  byId(id).hidden = !meters.length;
  byId(id).querySelector(".meters").replaceChildren(...meters);
}

export function showSpending(ledger) {
  showMeters("plan-windows", ledger ? ledger.plan_windows.map((one) => planWindow(one, ledger.until)) : []);
  showMeters("budgets", ledger ? ledger.budgets.map(budget) : []);
  showTable("clients", "Client", ledger ? ledger.clients : []);
  showTable("providers", "Provider", ledger ? ledger.providers : []);
}
