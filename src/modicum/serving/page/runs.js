// Saved runs: the figures of one, by stratum and with intervals; two side by side; the audit.

import * as api from "./api.js";
import { figure, interval, intervals } from "./charts.js";
import { byId, el, table } from "./dom.js";

let there = false; // whether the server was given runs
let listed = [];
let turn = 0;
let drawn = {}; // {a, b}: reports, b only where two are side by side

export function begin(server) {
  there = server.runs;
  for (const name of ["run-a", "run-b"]) {
    byId(name).addEventListener("change", () => {
      location.hash = ["#runs", byId("run-a").value, byId("run-b").value].filter(Boolean)
        .map((part, at) => (at ? encodeURIComponent(part) : part)).join("/");
    });
  }
  byId("metric").addEventListener("change", drawFigures);
  byId("choose").addEventListener("submit", (event) => event.preventDefault());
}

export async function enter([a, b]) {
  if (!there) {
    say("This server shows no runs. Start it with --runs and the folder that holds them.");
    return;
  }
  const mine = ++turn;
  say("Reading the reports …");
  byId("run").setAttribute("aria-busy", "true");
  try {
    listed = await api.runs();
    if (mine !== turn) return;
    if (!listed.length) {
      say("The folder holds no run with a report yet. Judge one: modicum evaluate.");
      return;
    }
    a = a || listed[0].name;
    b = b === a ? undefined : b;
    drawList(a, b);
    const first = await api.report(a);
    const second = b ? await api.report(b) : null;
    const compared = b ? await api.comparison(a, b).catch((refused) => ({ problem: refused.message })) : null;
    const audit = listed.find((run) => run.name === a)?.audit ? await api.audit(a) : null;
    if (mine !== turn) return;
    drawn = { a: first, b: second, compared, audit };
    say(b ? `${a} beside ${b}.` : "");
    drawRun();
  } catch (refused) {
    if (mine !== turn) return;
    byId("run").replaceChildren();
    say(refused.message, "problem");
  } finally {
    if (mine === turn) byId("run").removeAttribute("aria-busy");
  }
}

function say(text, kind = "note") {
  byId("runs-status").className = kind;
  byId("runs-status").textContent = text;
}

function drawList(a, b) {
  const link = (run) => el(
    "a",
    { href: `#runs/${encodeURIComponent(run.name)}`, "aria-current": run.name === a ? "true" : null },
    el("bdi", {}, run.name),
  );
  byId("runs-list").replaceChildren(table(
    "Runs with a report",
    ["run", "method", "judged by", "audit"].map((text) => ({ text })),
    listed.map((run) => [link(run), run.model, run.judged_by, run.audit ? "yes" : "–"]),
  ));
  const options = (chosen) => listed.map(({ name }) => el("option", { value: name, selected: name === chosen }, name));
  byId("run-a").replaceChildren(...options(a));
  byId("run-b").replaceChildren(el("option", { value: "" }, "none"), ...options(b).filter((x) => x.value !== a));
  byId("choose").hidden = false;
}

function drawRun() {
  const { a, b, compared, audit } = drawn;
  const metrics = [...new Set(a.figures.map((row) => row.metric))];
  const before = byId("metric").value;
  const chosen = metrics.includes(before) ? before : a.main_metrics[0] ?? metrics[0];
  byId("metric").replaceChildren(...metrics.map((name) => el("option", { value: name, selected: name === chosen }, name)));
  byId("run").replaceChildren(
    ...[a, b].filter(Boolean).flatMap((report) => [
      el("p", { class: "lead" }, report.headline),
      ...report.warnings.map((text) => el("p", { class: "notice" }, text)),
    ]),
    el("div", { id: "figures" }),
    ...(compared ? comparisonOf(compared) : []),
    el("h2", {}, `How ${a.name} was judged`),
    el("p", {}, a.method),
    folded("What the strata are", pairs("Strata", "stratum", "its queries", a.definitions), Object.keys(a.definitions).length),
    folded("Protocol", pairs("Protocol", "what", "how", a.protocol), true),
    ...auditOf(a.name, audit),
  );
  drawFigures();
}

function folded(title, content, wanted) {
  return wanted ? el("details", {}, el("summary", {}, title), content) : null;
}

const pairs = (caption, what, how, words) =>
  table(caption, [{ text: what }, { text: how, kind: "long" }], Object.entries(words));

/** The picture of the chosen metric, and the table that says the same in figures. */
function drawFigures() {
  const reports = [drawn.a, drawn.b].filter(Boolean);
  const metric = byId("metric").value;
  const of = (report, group) => report.figures.find((row) => row.metric === metric && row.group === group);
  const groups = [...new Set(reports.flatMap((report) => report.figures)
    .filter((row) => row.metric === metric).map((row) => row.group))];
  const { unit, grouped_by: by } = drawn.a;
  const title = `${metric} by ${by}, mean over ${unit}s with 95 % interval`;
  const rows = groups.map((group) => {
    const found = reports.map((report) => ({ series: report.name, ...of(report, group) })).filter((x) => x.metric);
    return { label: group, note: `n = ${found[0].n.toLocaleString("en")}`, marks: found };
  });
  const heads = [{ text: by }, { text: "n", kind: "number" }, ...reports.flatMap((report) => [
    { text: report.name, kind: "number" }, { text: "95 % interval", kind: "number" }])];
  const cells = rows.map((row) => [row.label, row.marks[0].n.toLocaleString("en"), ...reports.flatMap((report) => {
    const found = row.marks.find((x) => x.series === report.name);
    return found ? [figure(found.mean), interval(found)] : ["–", "–"];
  })]);
  byId("figures").replaceChildren(
    intervals(title, rows, reports.map((report) => report.name)),
    table(`${metric} in figures`, heads, cells),
  );
}

function comparisonOf(compared) {
  const title = el("h2", {}, "The paired test");
  if (compared.problem) return [title, el("p", { class: "problem" }, compared.problem)];
  const { a, b, grouped_by: by, tests } = compared;
  const signed = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`);
  const range = (row) => (row.low === null ? "–" : `[${signed(row.low)}, ${signed(row.high)}]`);
  const heads = [{ text: "metric" }, { text: by }, ...["difference", "95 % interval", "p (Holm)", "effect", "n"]
    .map((text) => ({ text, kind: "number" })), { text: "verdict" }];
  return [
    title,
    ...compared.findings.map((text) => el("p", { class: "finding" }, text)),
    folded("All tests", table(`Differences are ${a} − ${b}`, heads, tests.map((row) => [
      row.metric, row.group, signed(row.difference), range(row), figure(row.p_holm),
      row.effect === null ? "–" : signed(row.effect).slice(0, -2), row.n.toLocaleString("en"),
      row.verdict.replace(/^([ab]) is/, (_, side) => `${side === "a" ? a : b} is`),
    ])), true),
    el("p", { class: "note" }, compared.method),
  ];
}

function auditOf(name, audit) {
  const title = el("h2", {}, `The audit of ${name}'s data`);
  if (!audit) {
    return [title, el("p", { class: "note" }, "None is kept with this run; modicum fit keeps one, as audit.json.")];
  }
  return [
    title,
    el("p", { class: "lead" }, audit.verdict),
    el("ul", { class: "findings" }, audit.findings.map((found) => el(
      "li",
      {},
      el("span", { class: `severity ${found.severity}` }, found.severity), " ", el("strong", {}, found.code),
      el("p", {}, found.message),
    ))),
    folded(`All figures of ${audit.source}`, el("div", {}, audit.figures.map(({ subject, measured }) =>
      table(subject, [{ text: "measured", kind: "long" }, { text: "value", kind: "long" }], measured.map((x) => [x.what, x.value])))), true),
  ];
}
