// The calls to the service that this page makes, and what can be wrong with an answer.
import { signal } from "@preact/signals";

const KEY = "rfvae.key"; // kept until the tab is closed
// Three times the service's own default deadline: what takes longer hangs.
const PATIENCE_MS = 30_000;
const STOPPED =
  "The service does not answer. Start it again: this page asks every 2 s, and what you see stays.";

export const timing = signal(null); // { path, stages: [[name, ms]], total_ms } of the last answer

export class Problem extends Error {} // the request is wrong; the service's have a `type`
export class KeyNeeded extends Error {}
export class Later extends Error {
  constructor(kind, text, seconds) {
    super(text);
    Object.assign(this, { kind, seconds });
  }
}

let key = readKey();

// Others cannot be sent: fetch would fail as if the service did not answer.
export const isKey = (given) => /^[\x21-\x7e]+$/.test(given);
export const hasKey = () => key !== null;

export function keepKey(given) {
  key = given;
  try {
    sessionStorage.setItem(KEY, given);
  } catch {
    // storage is switched off: the key lasts as long as the page
  }
}

function readKey() {
  try {
    const kept = sessionStorage.getItem(KEY);
    return kept !== null && isKey(kept) ? kept : null;
  } catch {
    return null;
  }
}

export const listModels = () => json("models");
export const showModel = (name) => json(`models/${encodeURIComponent(name)}`);
export const modelFactors = (model) => json(to("factors", model));

export const encode = (model, image) => json(to("encode", model, { dims: "all" }), posted(image));
export const imageFactors = (model, image) => json(to("factors", model), posted(image));
export const reconstruct = (model, image) => grid(to("reconstruct", model), posted(image));
export const decode = (model, latents) =>
  grid(to("decode", model, { dims: "all" }), posted({ latents }));
export const traverse = (model, z, dims, steps) =>
  grid(to("traverse", model), posted({ latents: [z], dims, steps }));

export function to(path, { name, version }, query = {}) {
  return `${path}?${new URLSearchParams({ model: name, version, ...query })}`;
}

function posted(body) {
  if (body instanceof Blob) {
    return { method: "POST", body, headers: { "Content-Type": body.type } };
  }
  const headers = { "Content-Type": "application/json" };
  return { method: "POST", body: JSON.stringify(body), headers };
}

const json = async (path, options) =>
  JSON.parse(await (await ask(path, options, "application/json")).body.text());

// A PNG with the number of its rows and columns.
async function grid(path, options) {
  const { headers, body } = await ask(path, options, "image/png");
  const [rows, columns] = (headers.get("X-Grid") ?? "1,1").split(",").map(Number);
  return { png: body, rows, columns, resized: headers.has("X-Resized") };
}

async function ask(path, options = {}, accept) {
  const headers = { ...options.headers, Accept: accept };
  if (hasKey()) headers.Authorization = `Bearer ${key}`;
  const started = performance.now();
  const { answer, body } = await whole(path, { ...options, headers });
  if (!answer.ok) throw await failure(answer, body);
  note(path, answer, performance.now() - started);
  return { headers: answer.headers, body };
}

// Key and file were looked at before, so a failure here is one of the service or the network.
async function whole(path, options) {
  try {
    const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) });
    return { answer, body: await answer.blob() };
  } catch {
    throw new Later("stopped", STOPPED, 2);
  }
}

async function failure(answer, body) {
  if (answer.status === 401) return new KeyNeeded();
  const problem = await body.text().then(JSON.parse).catch(() => ({}));
  const detail = problem.detail ?? `The service answered ${answer.status}; its log says more.`;
  if (answer.status === 429) {
    const seconds = Number(answer.headers.get("Retry-After")) || 1;
    return new Later("busy", `The service is busy: this page asks again in ${seconds} s.`, seconds);
  }
  if ([502, 503, 504].includes(answer.status)) {
    return new Later("stopped", `${sentence(detail)} This page asks again every 2 s.`, 2);
  }
  return Object.assign(new Problem(sentence(detail)), { type: problem.type ?? "" });
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function note(path, answer, total_ms) {
  const header = answer.headers.get("Server-Timing") ?? "";
  const stages = [...header.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, ms]);
  if (stages.length) timing.value = { path: path.split("?")[0], stages, total_ms };
}
