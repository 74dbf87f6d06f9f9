// Pictures as rows of HTML and SVG: positions are percentages, so they fit any width.

import { el, svg } from "./dom.js";

const TICKS = 4;

export const figure = (value) => (value === null ? "–" : value.toFixed(4));

export function interval({ low, high }) {
  return low === null ? "–" : `[${low.toFixed(4)}, ${high.toFixed(4)}]`;
}

/** Round numbers from 0, or below, to at least the largest value. */
function ticks(smallest, largest) {
  const span = largest - smallest || 1;
  const power = 10 ** Math.floor(Math.log10(span / TICKS));
  const step = [1, 2, 2.5, 5, 10].map((x) => x * power).find((x) => span / x <= TICKS);
  const from = Math.floor(smallest / step + 1e-9);
  const to = Math.ceil(largest / step - 1e-9);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (step / power === 2.5 ? 1 : 0);
  return Array.from({ length: to - from + 1 }, (_, at) => ({
    value: (from + at) * step,
    text: ((from + at) * step).toFixed(decimals),
  }));
}

/**
 * Means with intervals: a row for each group, in it a mark for each series.
 *
 * rows: [{label, note, marks: [{series, mean, low, high}]}]; series: names in the order of marks.
 */
export function intervals(title, rows, series) {
  const values = rows.flatMap((row) => row.marks.flatMap((x) => [x.mean, x.low, x.high]))
    .filter((x) => x !== null && Number.isFinite(x));
  const axis = ticks(Math.min(0, ...values), Math.max(...values));
  const [first, last] = [axis[0].value, axis.at(-1).value];
  const at = (value) => `${((100 * (value - first)) / (last - first)).toFixed(3)}%`;
  const height = 14 + 14 * series.length;
  const grid = () => axis.map(({ value }) =>
    svg("line", { class: "grid", x1: at(value), x2: at(value), y1: 0, y2: "100%" }));
  const drawn = (row) => row.marks.filter((x) => x.mean !== null).flatMap((x) => {
    const place = series.indexOf(x.series);
    const y = 14 + 14 * place;
    const kind = `series-${place}`;
    const bar = x.low === null ? [] : [svg("line", { class: `${kind} range`, x1: at(x.low), x2: at(x.high), y1: y, y2: y })];
    const point = place === 0
      ? svg("circle", { class: kind, cx: at(x.mean), cy: y, r: 4.5 })
      : svg("rect", { class: `${kind} square`, x: at(x.mean), y: y - 4, width: 8, height: 8 });
    return [...bar, point];
  });
  const said = (row) => row.marks
    .map((x) => `${x.series}: ${figure(x.mean)} ${interval(x)}`).join("; ");
  return el(
    "figure",
    { class: "chart", role: "group", "aria-label": title },
    el("figcaption", {}, title),
    series.length > 1 ? legend(series) : null,
    el(
      "div",
      { class: "rows" },
      rows.map((row) => [
        el("div", { class: "label" }, row.label, el("span", {}, row.note)),
        svg("svg", { class: "track", height, role: "img", "aria-label": `${row.label}: ${said(row)}` }, grid(), drawn(row)),
      ]),
      el("div", { class: "label axis" }),
      svg("svg", { class: "track axis", height: 20, "aria-hidden": "true" }, axis.map(({ value, text }, place) =>
        svg("text", {
          x: at(value),
          y: 14,
          "text-anchor": place === 0 ? "start" : place === axis.length - 1 ? "end" : "middle",
        }, text))),
    ),
  );
}

function legend(series) {
  return el(
    "ul",
    { class: "legend" },
    series.map((name, place) =>
      el(
        "li",
        {},
        svg(
          "svg",
          { width: 12, height: 12, "aria-hidden": "true" },
          place === 0
            ? svg("circle", { class: "series-0", cx: 6, cy: 6, r: 4.5 })
            : svg("rect", { class: "series-1", x: 2, y: 2, width: 8, height: 8 }),
        ),
        el("bdi", {}, name),
      )),
  );
}

/** A line of values over time, the latest at the right; drawn from 0 to the largest. */
export function sparkline(values, title) {
  const largest = Math.max(...values, 1e-9);
  const step = 100 / Math.max(values.length - 1, 1);
  const points = values.map((value, at) =>
    `${(at * step).toFixed(2)},${(28 - (26 * value) / largest).toFixed(2)}`);
  return svg(
    "svg",
    { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": title },
    svg("polyline", { class: "line", points: points.join(" "), "vector-effect": "non-scaling-stroke" }),
  );
}

/** One dot for each value, the latest at the right, and named levels across: {value, name, dy}. */
export function dots(values, levels, title) {
  const largest = Math.max(...values, ...levels.map((level) => level.value)) * 1.15 || 1;
  const y = (value) => `${(100 - (100 * value) / largest).toFixed(2)}%`;
  const x = (at) => `${(2 + (96 * (at + 0.5)) / values.length).toFixed(2)}%`;
  return svg(
    "svg",
    { class: "dots", height: 150, role: "img", "aria-label": title },
    svg("line", { class: "base", x1: 0, x2: "100%", y1: "100%", y2: "100%" }),
    values.map((value, at) => svg("circle", { class: "series-0", cx: x(at), cy: y(value), r: 2.5 })),
    levels.map(({ value, name, dy }) => [
      svg("line", { class: "level", x1: 0, x2: "100%", y1: y(value), y2: y(value) }),
      svg("text", { x: "100%", y: y(value), dx: 8, dy }, name),
    ]),
  );
}
