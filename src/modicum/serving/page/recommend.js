// Who, what is recommended to them and why, and what they did.

import * as api from "./api.js";
import { byId, el, id, lines } from "./dom.js";
import { drawEvents, drawItems, keyOf, moves } from "./lists.js";

const SUGGESTED = 50;
const RECENT = 8;
const REASONS = {
  "no known items": "the model knows nothing of this history",
  "nothing to read": "the model reads nothing of this history for this domain",
  "over budget": "the model took longer than its time budget",
  "no history store": "the history cannot be read",
};

let suggested = false;
let numeric = false; // whether the ids of items are numbers
let turn = 0; // of the latest request; what answers an earlier one is not drawn
let current = null; // {who, user, items} as drawn
const recent = [];
const domains = new Set();
const known = new Set(); // items as they are written

export function begin() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    refresh();
  });
  byId("ask").addEventListener("change", (event) => {
    if (event.target.name === "for") choose();
  });
  byId("newcomer").addEventListener("click", () => {
    document.querySelector("input[name=for][value=user]").checked = true;
    choose();
    byId("user").value = `visitor-${api.newId().slice(0, 6)}`;
    refresh();
  });
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const item = named(byId("item").value.trim());
    if (item !== "") act(item.item === undefined ? { item } : item);
  });
  byId("erase").addEventListener("click", confirmErasing);
  byId("confirm").addEventListener("close", () => {
    if (byId("confirm").returnValue === "yes") forget();
    byId("confirm").returnValue = "";
  });
  choose();
}

export async function enter() {
  if (suggested) return;
  suggested = true;
  try {
    const there = await api.domains();
    there.domains.forEach((domain) => domains.add(domain));
    const field = byId("domain");
    if (there.required) field.value ||= there.domains[0];
    take((await api.recommend({ history: [], k: SUGGESTED, domain: field.value || undefined })).items);
  } catch (refused) {
    suggested = false;
    say(refused.message, "problem");
  }
}

function choose() {
  const user = forUser();
  byId("for-user").hidden = !user;
  byId("for-history").hidden = user;
  byId("past").hidden = !user || !current?.user;
}

const forUser = () => document.querySelector("input[name=for]:checked").value === "user";

const typed = (text) => (numeric && /^-?\d{1,15}$/.test(text) ? Number(text) : text);

/** Read an item as it is written, "id" or "domain: id"; text before a colon that is no domain is part of the id. */
function named(text) {
  const [domain, ...rest] = text.split(": ");
  return rest.length && domains.has(domain) ? { item: typed(rest.join(": ")), domain } : typed(text);
}

const written = ({ item, domain }) => (domain ? `${domain}: ${item}` : String(item));

/** Learn which items and domains there are from what was answered. */
function take(items) {
  for (const item of items) {
    numeric ||= typeof item.item === "number";
    if (item.domain) domains.add(item.domain);
    known.add(written(item));
  }
  byId("known-items").replaceChildren(...[...known].slice(-200).map((value) => el("option", { value })));
  byId("domains").replaceChildren(...[...domains].map((value) => el("option", { value })));
}

function question() {
  const asked = {
    k: byId("k").valueAsNumber || 10,
    explain: byId("why").checked,
    exclude: lines(byId("exclude").value).map(named),
    exclude_seen: byId("unseen").checked,
  };
  if (byId("domain").value.trim()) asked.domain = byId("domain").value.trim();
  if (forUser()) asked.user = byId("user").value.trim();
  else asked.history = lines(byId("history").value).map(named);
  return asked;
}

/** Ask again and draw; after an event, with marks of what it changed. Return whether it came. */
async function refresh(after = null) {
  const asked = question();
  if (asked.user === "") {
    say("Name a user first.", "problem");
    byId("user").focus();
    return false;
  }
  const mine = ++turn;
  byId("items").setAttribute("aria-busy", "true");
  try {
    const answer = await api.recommend(asked);
    const events = asked.user === undefined ? [] : await api.past(asked.user).catch(() => null);
    if (mine !== turn) return false;
    draw(asked, answer, events, after);
    return true;
  } catch (refused) {
    if (mine === turn) say(refused.message, "problem");
    return false;
  } finally {
    if (mine === turn) byId("items").removeAttribute("aria-busy");
  }
}

function draw(asked, answer, events, after) {
  const changed = after && current ? moves(current.items, answer.items) : null;
  take(answer.items);
  const whom = asked.user ?? "this history";
  byId("answer-title").replaceChildren("Recommended for ", asked.user === undefined ? whom : id(whom));
  drawSource(answer);
  drawItems(answer.items, changed, choseFrom);
  const gone = changed ? changed.gone.filter((item) => keyOf(item) !== keyOf(after)) : [];
  byId("gone").hidden = gone.length === 0;
  byId("gone").replaceChildren("No longer among them: ", ...separated(gone.map((item) => id(item.item))));
  const count = `${answer.items.length} ${answer.items.length === 1 ? "item" : "items"}`;
  say(changed ? `After ${after.item}: ${changed.words}.` : `${count} for ${whom}.`);
  byId("past").hidden = asked.user === undefined;
  if (asked.user !== undefined) {
    drawEvents(events);
    byId("erase").disabled = !events?.length;
    remember(asked.user);
  }
  current = { user: asked.user, items: answer.items };
}

function drawSource(answer) {
  const parts = [];
  if (answer.source === "model") parts.push("Ranked by the model, ", el("strong", {}, answer.model));
  else {
    const why = REASONS[answer.reason] ?? answer.reason ?? "no reason is given";
    parts.push("Ranked by ", el("strong", {}, "popularity"), `: ${why}`);
  }
  if (answer.unknown_items)
    parts.push(`; ${answer.unknown_items} of the history's items ${answer.unknown_items === 1 ? "is" : "are"} unknown to it`);
  byId("source").className = answer.source === "model" ? "source" : "source fallback";
  byId("source").replaceChildren(...parts, ".");
  byId("source").hidden = false;
}

const separated = (parts) => parts.flatMap((part, at) => (at ? [", ", part] : [part]));

function say(text, kind = "note") {
  byId("status").className = kind;
  byId("status").textContent = text;
}

function remember(user) {
  if (recent.includes(user)) recent.splice(recent.indexOf(user), 1);
  recent.unshift(user);
  recent.splice(RECENT);
  drawRecent();
}

function drawRecent() {
  byId("recent-users").replaceChildren(...recent.map((value) => el("option", { value })));
  const ask = (user) => () => {
    byId("user").value = user;
    refresh();
  };
  byId("recent").replaceChildren(
    ...recent.map((user) => el("button", { type: "button", class: "chip", click: ask(user) }, id(user))),
  );
}

/** The user chose an item of the list: the focus stays where it was, on what came there. */
async function choseFrom(item, place) {
  if (!(await act(item))) return;
  const buttons = document.querySelectorAll("#items button");
  buttons[Math.min(place, buttons.length - 1)]?.focus();
}

/** Post an event of the user whose list is drawn, or lengthen the typed history; then ask again. */
async function act({ item, domain }) {
  if (current?.user === undefined) {
    byId("history").value = [...lines(byId("history").value), written({ item, domain })].join("\n");
    return refresh({ item, domain });
  }
  byId("user").value = current.user;
  try {
    const event = { id: api.newId(), user: current.user, item };
    if (domain) event.domain = domain;
    await api.post(event);
  } catch (refused) {
    say(refused.message, "problem");
    return false;
  }
  byId("item").value = "";
  return refresh({ item, domain });
}

function confirmErasing() {
  byId("confirm-text").replaceChildren(
    "All events of ", id(current.user), " are deleted on the server. This cannot be undone.",
  );
  byId("confirm").showModal();
}

async function forget() {
  const user = current.user;
  try {
    const { erased } = await api.erase(user);
    byId("user").value = user;
    if (await refresh()) say(`${erased} ${erased === 1 ? "event" : "events"} of ${user} erased.`);
    recent.splice(recent.indexOf(user), 1);
    drawRecent();
  } catch (refused) {
    say(refused.message, "problem");
  }
  byId("user").focus();
}
