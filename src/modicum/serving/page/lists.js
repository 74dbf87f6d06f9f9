// The list of recommendations, with reasons and what an event changed; the list of past events.

import { byId, el, id, svg } from "./dom.js";

const REASONS = 3;
const LEAST = 0.005; // share of a reason that is shown
const EVENTS = 8;
const DAY = new Intl.DateTimeFormat("en-CA"); // year-month-day
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export const keyOf = ({ item, domain }) => JSON.stringify([domain ?? null, item]);

/** What changed between two lists: places by item (0 for new ones), what is gone, and in words. */
export function moves(before, now) {
  const was = new Map(before.map((item, place) => [keyOf(item), place]));
  const is = new Set(now.map(keyOf));
  const by = new Map(now.map((item, place) => {
    const key = keyOf(item);
    return [key, was.has(key) ? was.get(key) - place : null];
  }));
  const counted = { new: 0, up: 0, down: 0 };
  for (const change of by.values()) {
    if (change === null) counted.new += 1;
    else if (change > 0) counted.up += 1;
    else if (change < 0) counted.down += 1;
  }
  const words = `${counted.new} new, ${counted.up} up, ${counted.down} down`;
  return { by, gone: before.filter((item) => !is.has(keyOf(item))), words };
}

export function drawItems(items, changed, chosen) {
  byId("items").replaceChildren(
    ...items.map((item, place) =>
      el(
        "li",
        { class: changed?.by.get(keyOf(item)) === null ? "item fresh" : "item" },
        el("span", { class: "rank", "aria-hidden": "true" }, String(item.rank)),
        el(
          "div",
          { class: "what" },
          id(item.item),
          item.domain ? el("span", { class: "tag" }, item.domain) : null,
          changed ? mark(changed.by.get(keyOf(item))) : null,
        ),
        el("span", { class: "score", title: "score" }, score(item.score)),
        el(
          "button",
          { type: "button", class: "small", click: () => chosen(item, place), "aria-label": `Chosen: ${item.item}` },
          "Chosen",
        ),
        because(item.because ?? []),
      )),
  );
}

function mark(change) {
  if (change === 0) return null;
  if (change === null) return el("span", { class: "move new" }, "new");
  const [kind, sign] = change > 0 ? ["up", "▲"] : ["down", "▼"];
  return el(
    "span",
    { class: `move ${kind}` },
    el("span", { "aria-hidden": "true" }, `${sign} ${Math.abs(change)}`),
    el("span", { class: "unseen" }, `${kind} ${Math.abs(change)}`),
  );
}

function because(all) {
  const reasons = all.filter(({ share }) => Math.abs(share) >= LEAST).slice(0, REASONS);
  if (!reasons.length) return null;
  return el(
    "ul",
    { class: "because", "aria-label": "Because of" },
    reasons.map((reason) => {
      const length = `${(100 * Math.min(Math.abs(reason.share), 1)).toFixed(1)}%`;
      return el(
        "li",
        {},
        el("span", { class: "share" }, `${Math.round(100 * reason.share)} %`.replace("-", "−")),
        svg(
          "svg",
          { class: "bar", "aria-hidden": "true" },
          svg("rect", { class: "ground", width: "100%", height: "100%", rx: 2 }),
          svg("rect", { class: reason.share < 0 ? "part against" : "part", width: length, height: "100%", rx: 2 }),
        ),
        id(reason.item),
      );
    }),
  );
}

function score(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(3);
}

/** The time of an event of today, the day of one before. */
const when = (at) => (DAY.format(at) === DAY.format(new Date()) ? TIME : DAY).format(at);

/** Draw past events, the latest first; null where they cannot be read. */
export function drawEvents(events) {
  if (events === null) {
    byId("past-title").textContent = "History";
    byId("events").replaceChildren(el("li", { class: "problem" }, "It cannot be read now."));
    byId("all-events").hidden = true;
    return;
  }
  const rows = events.toReversed().map((event) => {
    const at = new Date(1000 * event.time);
    return el(
      "li",
      {},
      el("span", {}, id(event.item), event.domain ? el("span", { class: "tag" }, event.domain) : null),
      el("time", { datetime: at.toISOString() }, when(at)),
    );
  });
  const all = byId("all-events");
  byId("events").replaceChildren(...rows.slice(0, EVENTS));
  byId("past-title").textContent = `History (${events.length})`;
  all.hidden = rows.length <= EVENTS;
  all.textContent = `Show all ${rows.length}`;
  all.onclick = () => {
    byId("events").replaceChildren(...rows);
    all.hidden = true;
    byId("item").focus();
  };
  if (!rows.length) byId("events").replaceChildren(el("li", { class: "note" }, "No events yet."));
}
