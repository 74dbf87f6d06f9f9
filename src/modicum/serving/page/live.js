// How long this page's requests take, and what the server counts.

import * as api from "./api.js";
import { dots, sparkline } from "./charts.js";
import { byId, el, table } from "./dom.js";
import { parse, quantile, read } from "./metrics.js";

const EVERY_MS = 2000;
const SHOWN = 100;
const READINGS = 61; // two minutes

let counts = false; // whether the server has metrics
let timer = null;
let measuring = false;
const readings = []; // {at, ...read(...)}

export function begin(server) {
  counts = server.metrics;
  byId("measure").addEventListener("click", measure);
  document.addEventListener("visibilitychange", () => {
    if (timer === null) return;
    clearTimeout(timer);
    if (!document.hidden) refresh();
  });
}

export function enter() {
  clearTimeout(timer);
  refresh();
}

export function leave() {
  clearTimeout(timer);
  timer = null;
}

async function refresh() {
  timer = 0; // under way
  if (counts) {
    try {
      readings.push({ at: performance.now(), ...read(parse(await api.metrics())) });
      if (readings.length > READINGS) readings.shift();
      drawServer();
    } catch (refused) {
      byId("server").replaceChildren(el("p", { class: "problem" }, refused.message));
    }
  } else {
    byId("server").replaceChildren(el("p", { class: "note" }, "This server counts nothing at /metrics."));
  }
  drawMine();
  if (timer === 0 && !document.hidden) timer = setTimeout(refresh, EVERY_MS);
}

async function measure() {
  if (measuring) return;
  measuring = true;
  byId("live-status").className = "note";
  byId("live-status").textContent = "Asking …";
  try {
    for (let asked = 0; asked < 20; asked += 1) await api.recommend({ history: [], k: 10 });
    byId("live-status").textContent = "Asked 20 times, one after the other.";
  } catch (refused) {
    byId("live-status").className = "problem";
    byId("live-status").textContent = refused.message;
  }
  measuring = false;
  drawMine();
}

function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)];
}

const ms = (value) => `${value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en")} ms`;

function drawMine() {
  const asked = api.requests.filter((x) => x.path === "POST /recommend").slice(-SHOWN).map((x) => x.ms);
  const paths = [...new Set(api.requests.map((x) => x.path))].sort();
  const heads = [{ text: "request" }, ...["asked", "failed", "p50", "p95"].map((text) => ({ text, number: true }))];
  const rows = paths.map((path) => {
    const found = api.requests.filter((x) => x.path === path);
    const times = found.map((x) => x.ms);
    const failed = found.filter((x) => !x.ok).length;
    return [path, found.length, failed, ms(percentile(times, 0.5)), ms(percentile(times, 0.95))].map(String);
  });
  const levels = asked.length ? [0.5, 0.95].map((share) => {
    const value = percentile(asked, share);
    return { value, name: `p${100 * share} ${ms(value)}` };
  }) : [];
  const title = `The latest ${asked.length} recommendations, a dot each. ${levels.map((x) => x.name).join(", ")}`;
  byId("mine").replaceChildren(
    ...(asked.length ? [el("figure", { class: "chart" }, el("figcaption", {}, title), dots(asked, levels, title))] : []),
    table("Latency by kind of request", heads, rows),
  );
}

/** Tiles: the figure now, and its line over the last two minutes. */
function drawServer() {
  const steps = readings.slice(1).map((now, at) => ({ now, before: readings[at] }));
  const rate = (what) => steps.map(({ now, before }) => (1000 * Math.max(now[what] - before[what], 0)) / (now.at - before.at));
  const last = readings.at(-1);
  const first = readings[0];
  const window = last.buckets && quantile(0.5, last.buckets, readings.length > 1 ? first.buckets : []) !== null ? first.buckets : [];
  const time = (share) => {
    const seconds = last.buckets && quantile(share, last.buckets, window);
    return seconds === null ? "–" : ms(1000 * seconds);
  };
  const fallback = last.answered ? `${((100 * last.fallback) / last.answered).toFixed(1)} %` : "–";
  const tiles = [
    last.requests === null ? null : tile("Requests", `${(rate("requests").at(-1) ?? 0).toFixed(1)} /s`, `${last.requests.toLocaleString("en")} since it started`, rate("requests")),
    last.buckets === null ? null : tile("Latency, median", time(0.5), `95 % within ${time(0.95)}`, null),
    last.queue === null ? null : tile("Waiting", last.queue.toLocaleString("en"), "requests in the queue", readings.map((x) => x.queue)),
    last.answered === null ? null : tile("Fallback", fallback, `${last.fallback.toLocaleString("en")} of ${last.answered.toLocaleString("en")} answers by popularity`, steps.map(({ now }) => now.fallback / (now.answered || 1))),
  ].filter(Boolean);
  byId("server").replaceChildren(
    tiles.length ? el("ul", { class: "tiles" }, tiles) : el("p", { class: "note" }, "Nothing at /metrics is known to this page."),
  );
}

function tile(name, value, note, line) {
  return el(
    "li",
    {},
    el("span", { class: "what" }, name),
    el("span", { class: "value" }, value),
    el("span", { class: "note" }, note),
    line && line.length > 1 ? sparkline(line, `${name}, the last two minutes`) : null,
  );
}
