// What every part of the page is made of: formats, elements and words. All of it may have been
// written by others, so it only ever becomes text (`textContent`), never markup.

export const NOTHING = "–";
export const NOBODY = "without a token";

const locale = navigator.language;
export const whole = new Intl.NumberFormat(locale);
export const short = new Intl.NumberFormat(locale, {
  notation: "compact", maximumFractionDigits: 1,
});
export const percent = new Intl.NumberFormat(locale, {
  style: "percent", maximumFractionDigits: 1,
});
export const dollars = new Intl.NumberFormat(locale, {
  style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 4,
});
export const seconds = new Intl.NumberFormat(locale, {
  style: "unit", unit: "second", maximumFractionDigits: 2,
});
export const moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
export const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });

export const known = (format, value) => (value === null ? NOTHING : format.format(value));
export const date = (epoch) => new Date(epoch * 1000);
export const byId = (id) => document.getElementById(id);
export const span = () => document.querySelector("#spans input:checked").value;
export const promptTokens = (sums) =>
  sums.input_tokens + sums.cache_creation_input_tokens + sums.cache_read_input_tokens;

// As on the command line: `?` where no turn has a price, `+ ?` where some have none.
export function cost(amount, unpriced) {
  if (amount === null) return unpriced ? "?" : NOTHING;
  return unpriced ? `${dollars.format(amount)} + ?` : dollars.format(amount);
}

export const planned = ({ plan, reason }) => (plan ? `${plan} (${reason})` : NOTHING);

export function element(name, fields = {}, ...children) {
  const made = document.createElement(name);
  const { data = {}, ...rest } = fields;
  Object.assign(made.dataset, data);
  Object.assign(made, rest);
  made.append(...children.filter((child) => child !== null));
  return made;
}

export const number = (text) => element("td", { className: "number" }, text);
export const cell = (text) => element("td", {}, text ?? NOTHING);

export function row(cells, testid) {
  return element("tr", { data: testid ? { testid } : {} }, ...cells);
}

export function fill(body, rows, columns, nothing) {
  const none = element("tr", {}, element("td", { colSpan: columns, className: "quiet" }, nothing));
  body.replaceChildren(...(rows.length ? rows : [none]));
}
