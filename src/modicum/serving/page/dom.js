// Elements made of names, attributes and text. Nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make an element; a function among the attributes listens to the event of its name. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** A table in a region that scrolls by itself: heads are {text, kind}, cells text or elements. */
export function table(caption, heads, rows) {
  const cell = (value, column) => el("td", { class: heads[column].kind }, value);
  return el(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, heads.map((head) =>
        el("th", { scope: "col", class: head.kind }, head.text)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
    ),
  );
}

/** A user's or item's id: kept apart from the text around it, whichever way it is written. */
export function id(text, attributes = {}) {
  return el("bdi", { class: "id", ...attributes }, String(text));
}

export function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}
