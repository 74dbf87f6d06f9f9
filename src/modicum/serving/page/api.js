// Requests to the server that sent this page, and how long each took.

const REMEMBERED = 400;
const listeners = new Set();

let key = "";

/** What was asked, oldest first: {path, ms, ok}. */
export const requests = [];

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useKey(text) {
  key = text;
  listeners.forEach((told) => told(key !== ""));
}

export function onKey(told) {
  listeners.add(told);
}

async function send(method, path, body) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const started = performance.now();
  let answer, text;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    text = await answer.text();
  } catch {
    throw new Refused(0, "the server does not answer; is it still running?");
  } finally {
    record(method, path.split("?")[0].split("/"), performance.now() - started, Boolean(answer?.ok));
  }
  if (answer.ok) return text;
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("key-needed"));
  throw new Refused(answer.status, problem(text) || `the server answers ${answer.status}`);
}

/** Remember a request by its kind: whom it named is left out. */
function record(method, [first, ...rest], ms, ok) {
  if (first === "page") return;
  requests.push({ path: `${method} /${first}${rest.length ? "/…" : ""}`, ms, ok });
  if (requests.length > REMEMBERED) requests.shift();
}

function problem(text) {
  try {
    const told = JSON.parse(text);
    return String(told.error ?? told.detail ?? "");
  } catch {
    return "";
  }
}

const asked = async (...request) => JSON.parse(await send(...request));

const history = (user) => `users/${encodeURIComponent(user)}/history`;

export const about = () => asked("GET", "page/about.json");
export const domains = () => asked("GET", "domains");
export const recommend = (body) => asked("POST", "recommend", body);
export const post = (event) => asked("POST", "events", { events: [event] });
export const past = async (user) => (await asked("GET", history(user))).events;
export const erase = (user) => asked("DELETE", history(user));
export const runs = async () => (await asked("GET", "runs")).runs;
export const report = (name) => asked("GET", `runs/${encodeURIComponent(name)}`);
export const audit = (name) => asked("GET", `runs/${encodeURIComponent(name)}/audit`);
export const comparison = (a, b) =>
  asked("GET", `comparison?${new URLSearchParams({ a, b })}`);
export const metrics = () => send("GET", "metrics");

/** A name for an event that no other has. */
export function newId() {
  const drawn = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(drawn, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
