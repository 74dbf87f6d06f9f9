// The views behind the address's hash, and the key.

import * as api from "./api.js";
import { byId } from "./dom.js";
import * as live from "./live.js";
import * as recommend from "./recommend.js";
import * as runs from "./runs.js";

const VIEWS = { recommend, runs, live };

let shown = null;

function show() {
  const [wanted, ...rest] = location.hash.slice(1).split("/").map(decoded);
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : Object.keys(VIEWS)[0];
  for (const other of Object.keys(VIEWS)) byId(`view-${other}`).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = byId(`${name}-title`);
  document.title = `${title.textContent} · modicum`;
  if (shown !== null && shown !== name) {
    VIEWS[shown].leave?.();
    title.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  shown = name;
  VIEWS[name].enter(rest);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

function askForKey() {
  const dialog = byId("key-dialog");
  if (!dialog.open) dialog.showModal();
}

byId("key-open").addEventListener("click", askForKey);
document.addEventListener("key-needed", askForKey);
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
// Taken as the form is sent, not when the dialog says it has closed: what is asked next has the key.
byId("key-form").addEventListener("submit", () => {
  api.useKey(byId("key").value.trim());
  VIEWS[shown].enter(location.hash.slice(1).split("/").slice(1).map(decoded));
});
byId("key-dialog").addEventListener("close", () => {
  byId("key").value = "";
});
api.onKey((there) => {
  byId("key-open").textContent = there ? "API key in use" : "API key";
});

addEventListener("hashchange", show);
const server = await api.about();
if (!server.recommends) {
  delete VIEWS.recommend;
  document.querySelector("nav a[href='#recommend']").remove();
}
for (const view of Object.values(VIEWS)) view.begin(server);
show();
