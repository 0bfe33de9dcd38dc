// One request at a time. Of each kind only the newest wish counts; kinds go first that others need.
import { signal } from "@preact/signals";
import { KeyNeeded, Later, Problem, hasKey, isKey, keepKey } from "./api.js";

const ORDER = ["models", "model", "samples", "image", "picture", "strips"];

const LONG_MS = 1000; // so much is noticed

export const doing = signal(null); // the kind under way
export const isLong = signal(false); // whether it takes noticeably long
export const trouble = signal(null); // { kind: "busy" | "stopped" | "key", text }: why it waits
export const complaint = signal(null); // what was wrong with something that the user did

const wishes = new Map();
let running = false;
let onProblem = () => {};
let keyCame = () => {};

export function wish(kind, work) {
  wishes.set(kind, work);
  if (!running) run();
}

export const isWished = (kind) => wishes.has(kind);
export const forget = () => wishes.clear();
export const whenProblem = (react) => { onProblem = react; };

export function giveKey(key) {
  if (isKey(key)) {
    keepKey(key);
    keyCame();
  } else {
    askKey("This key holds characters that no key has. Enter the one that the operator gave you.");
  }
}

export const complain = (text) => { complaint.value = text; };
export const dismiss = () => { complaint.value = null; };

async function run() {
  running = true;
  while (wishes.size) {
    const kind = ORDER.find((one) => wishes.has(one));
    const work = wishes.get(kind);
    wishes.delete(kind);
    doing.value = kind;
    try {
      await watched(work);
      trouble.value = null;
    } catch (error) {
      await recover(error, kind, work);
    }
  }
  doing.value = null;
  running = false;
}

async function watched(work) {
  const noticing = setTimeout(() => { isLong.value = true; }, LONG_MS);
  try {
    await work();
  } finally {
    clearTimeout(noticing);
    isLong.value = false;
  }
}

async function recover(error, kind, work) {
  if (error instanceof Later || error instanceof KeyNeeded) {
    await (error instanceof Later ? waited(error) : keyGiven());
    if (!wishes.has(kind)) wishes.set(kind, work);
    return;
  }
  trouble.value = null;
  if (!(error instanceof Problem)) console.error(error);
  complain(error.message);
  onProblem(error);
}

function waited({ kind, message, seconds }) {
  trouble.value = { kind, text: message };
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

const askKey = (text) => { trouble.value = { kind: "key", text }; };

function keyGiven() {
  const text = hasKey()
    ? "The service does not know this API key. Enter another one."
    : "The service asks for an API key. Enter the one that its operator gave you.";
  askKey(text);
  return new Promise((resolve) => { keyCame = resolve; });
}
