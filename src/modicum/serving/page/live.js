// How long this page's requests take, and what the server counts.

import * as api from "./api.js";
import { dots, sparkline } from "./charts.js";
import { byId, el, table } from "./dom.js";
import { quantile, read } from "./metrics.js";

const EVERY_MS = 2000;
const SHOWN = 100;
const READINGS = 61; // two minutes

let timer = null; // null: not in view; 0: a refresh is under way
let measuring = false;
const readings = []; // what was read, each with its time

let recommends = false;

export function begin(server) {
  recommends = server.recommends;
  byId("measure").hidden = !recommends;
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
  timer = 0;
  try {
    readings.push({ at: performance.now(), ...read(await api.metrics()) });
    if (readings.length > READINGS) readings.shift();
    drawServer();
  } catch (refused) {
    byId("server").replaceChildren(el("p", { class: "problem" }, refused.message));
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
    const { items } = await api.recommend({ history: [], k: 5 });
    const history = items.map(({ item, domain }) => (domain ? { item, domain } : item));
    for (let asked = 0; asked < 20; asked += 1) await api.recommend({ history, k: 10 });
    byId("live-status").textContent = "Asked 20 times, one after the other, for a history of 5 popular items.";
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
  if (byId("mine").contains(document.activeElement)) return; // who reads here keeps their place
  const asked = api.requests.filter((x) => x.path === "POST /recommend").slice(-SHOWN).map((x) => x.ms);
  const paths = [...new Set(api.requests.map((x) => x.path))].sort();
  const heads = [{ text: "request" }, ...["asked", "failed", "p50", "p95"].map((text) => ({ text, kind: "number" }))];
  const rows = paths.map((path) => {
    const found = api.requests.filter((x) => x.path === path);
    const times = found.map((x) => x.ms);
    const failed = found.filter((x) => !x.ok).length;
    return [path, found.length, failed, ms(percentile(times, 0.5)), ms(percentile(times, 0.95))].map(String);
  });
  const levels = asked.length ? [0.5, 0.95].map((share) => {
    const value = percentile(asked, share);
    return { value, name: `p${100 * share} ${ms(value)}`, dy: share > 0.5 ? -1 : 9 };
  }) : [];
  const title = `The latest ${asked.length} recommendations, a dot each: ${levels.map((x) => x.name).join(", ")}`;
  byId("mine").replaceChildren(
    ...(asked.length ? [el("figure", { class: "chart" }, el("figcaption", {}, title), dots(asked, levels, title))] : []),
    table("Latency by kind of request", heads, rows),
  );
}

/** Tiles: the figure now, and its line over the last two minutes. */
function drawServer() {
  const last = readings.at(-1);
  const steps = readings.slice(1).map((now, at) => ({ now, before: readings[at] }));
  const rates = steps.map(({ now, before }) => (1000 * Math.max(now.requests - before.requests, 0)) / (now.at - before.at));
  const medians = steps.map(({ now, before }) => quantile(0.5, now.buckets, before.buckets)).filter((x) => x !== null);
  const time = (share) => {
    const seconds = quantile(share, last.buckets, readings[0].buckets) ?? quantile(share, last.buckets);
    return seconds === null ? "–" : ms(1000 * seconds);
  };
  const count = (value) => value.toLocaleString("en");
  const batch = last.passes ? (last.inPasses / last.passes).toFixed(1) : "–";
  const tiles = [
    tile("Requests", `${(rates.at(-1) ?? 0).toFixed(1)} /s`, `${count(last.requests)} since it started, ${count(last.failed)} failed`, rates),
    tile("Latency", time(0.5), `median; 95 % within ${time(0.95)}`, medians),
    tile("Under way", count(last.underWay), `${batch} requests a model pass`, readings.map((x) => x.underWay)),
  ];
  if (recommends) {
    const share = last.answers ? `${((100 * last.fallback) / last.answers).toFixed(1)} %` : "–";
    tiles.push(tile("Fallback", share, `${count(last.fallback)} of ${count(last.answers)} by popularity`, readings.map((x) => x.fallback / (x.answers || 1))));
  }
  const { method, precision, items, search, version } = last.model ?? {};
  const model = [method, precision, items && `${count(Number(items))} items`, search, version && `version ${version}`];
  byId("server").replaceChildren(
    el("p", { class: "note" }, model.filter(Boolean).join(", ")),
    el("ul", { class: "tiles" }, tiles),
  );
}

function tile(name, value, note, line = []) {
  return el(
    "li",
    {},
    el("span", { class: "what" }, name),
    el("span", { class: "value" }, value),
    el("span", { class: "note" }, note),
    line.length > 1 ? sparkline(line, `${name}, the last two minutes`) : null,
  );
}
