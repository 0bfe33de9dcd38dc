// What the page knows, and everything that can happen to it.
import { batch, computed, effect, signal } from "@preact/signals";
import * as api from "./api.js";
import { keepNames, readAddress, readNames, rounded, writeAddress } from "./address.js";
import { drawLatents, means } from "./draw.js";
import { asPng, difference, framesOf } from "./pictures.js";
import { complain, dismiss, forget, isWished, whenProblem, wish } from "./queue.js";

export const STEPS = 11;
export const IMAGE_TYPES = ["image/png", "image/jpeg", "image/webp", "image/bmp"];
const N_SAMPLES = 12;
const MOST_STRIPS = 64; // of a model with more dimensions the rest have a slider only
const STRIPS_WAIT_MS = 150; // while a slider moves only its picture is asked for
const CLOSED_WIDTH = 1e-3; // in prior standard deviations
const ADDRESS_WAIT_MS = 300; // browsers refuse many changes of the address in a short time

export const models = signal([]); // { name, version }, those that can be asked
export const model = signal(null); // the chosen one: { name, version, columns, factors }
export const names = signal({}); // what dimensions are called in this browser
export const seed = signal(1);
export const samples = signal([]);
export const image = signal(null); // what the model makes of the image that was put in
export const z = signal([]);
// { frame, png, of: its z }; frame alone while one of a strip stands in
export const picture = signal(null);
export const strips = signal(new Map()); // dim -> frames from the 1 % to the 99 % quantile
export const unfolded = signal(false);
export const active = signal(null); // the dimension that was last used
export const playing = signal(null); // the dimension that is swept; what the user moves ends that

let source = null; // { blob: a promise, label, sample } of the image, for the next model too

export const relevant = computed(() => model.value?.factors.filter((one) => one.relevant) ?? []);
export const nuisance = computed(() => model.value?.factors.filter((one) => !one.relevant) ?? []);
export const nameOf = (factor) => names.value[factor.dim] ?? factor.name;
export const rangeOf = ({ mu_quantiles: { p1, p99 } }) => ({ low: p1, high: p99 });
// Training has shut it: the encoder gives the same number for every image.
export const isClosed = ({ mu_quantiles: { p1, p99 } }) => p99 - p1 < CLOSED_WIDTH;

export function start() {
  wish("models", loadModels);
}

async function loadModels() {
  const asked = readAddress();
  const listed = await api.listModels();
  const ready = listed.models.flatMap(readyVersions);
  if (!ready.length) throw new api.Later("stopped", noModel(listed), 2);
  ready.sort((a, b) => b.first - a.first || a.name.localeCompare(b.name) || b.version - a.version);
  models.value = ready;
  const named = ready.filter((one) => one.name === asked.name);
  const found = named.find((one) => asked.version === null || one.version === asked.version);
  if (found || !asked.name) {
    change(found ?? ready[0], asked);
    return;
  }
  const other = named[0] ?? ready[0];
  const wanted = asked.version === null ? asked.name : `${asked.name} version ${asked.version}`;
  complain(`${wanted} is not served now; see ${other.name} version ${other.version}.`);
  change(other, {}); // z and sample of one model mean nothing to another
}

function readyVersions({ name, default: first, versions }) {
  const ready = versions.filter((one) => one.state === "ready");
  return ready.map(({ version }) => ({ name, version, first }));
}

function noModel(listed) {
  const reasons = listed.models.flatMap(({ versions }) => versions.map((one) => one.reason));
  const reason = reasons.find((one) => one) ?? "they are being loaded";
  return `No model is ready (${reason}). This page asks again every 2 s.`;
}

export function choose(pair) {
  dismiss();
  change(pair, {});
}

function change(pair, asked) {
  forget();
  samples.value = []; // another model must not be shown a picture of this one's as its own
  wish("model", () => loadModel(pair, asked));
}

async function loadModel({ name, version }, asked) {
  if (asked.sample != null) source = null; // whoever follows a link wants to see what it names
  const facts = await api.modelFactors({ name, version });
  const manifest = (await api.showModel(name)).manifests[version];
  const factors = facts.factors;
  const kept = asked.z?.length === factors.length ? asked.z : null;
  batch(() => {
    model.value = { name, version, factors, columns: manifest?.vector?.columns ?? null };
    names.value = readNames(model.value);
    [samples.value, image.value, picture.value] = [[], null, null];
    stop();
    [strips.value, unfolded.value, active.value] = [new Map(), false, relevant.value[0] ?? null];
    seed.value = asked.seed ?? seed.value;
    z.value = kept ?? means(factors);
  });
  if (model.value.columns) return;
  if (asked.z && !kept) {
    complain(`The z of the address is not the ${factors.length} numbers that ${name} needs,` +
      " so it is left out.");
  }
  const given = asked.sample < N_SAMPLES ? asked.sample : null;
  const first = given ?? (kept ? null : 0);
  wish("samples", () => drawSamples(source?.sample === null ? null : first, kept));
  if (source?.sample === null) takeImage(source, kept);
  refresh();
}

async function drawSamples(choice, kept) {
  const latents = drawLatents(model.value.factors, N_SAMPLES, seed.value);
  const frames = (await framesOf(await api.decode(model.value, latents))).flat();
  if (isWished("model")) return; // another one was chosen meanwhile
  samples.value = frames.slice(0, N_SAMPLES);
  if (choice !== null && !isWished("image")) showSample(choice, kept);
}

// The user wants another image: what was wrong with the last one is past, and so is a sweep.
function begin() {
  stop();
  dismiss();
}

export function drawOthers() {
  begin();
  seed.value = (seed.value % 999_999) + 1;
  wish("samples", () => drawSamples(0, null));
}

export function takeSample(index) {
  begin();
  showSample(index, null);
}

function showSample(index, kept) {
  const blob = asPng(samples.value[index]);
  takeImage({ blob, label: `sample ${index + 1}`, sample: index }, kept);
}

export function takeFile(file, label) {
  begin();
  const blob = readOnce(file, label);
  blob.catch(() => {}); // whoever waits for it hears of that
  takeImage({ blob, label, sample: null }, null);
}

// Into memory: another model shall see the same picture after its file was changed or deleted.
async function readOnce(file, label) {
  if (!IMAGE_TYPES.includes(file.type)) {
    throw new api.Problem(`${label} (${file.type || "of no known type"}) cannot be read: this page` +
      " reads PNG, JPEG, WebP and BMP. Save the picture as one of these and choose that file.");
  }
  try {
    return new Blob([await file.arrayBuffer()], { type: file.type });
  } catch {
    throw new api.Problem(`${label} cannot be read. Choose a file again.`);
  }
}

function takeImage(taken, kept) {
  wish("image", () => readImage(taken, kept));
}

async function readImage(taken, kept) {
  const { label, sample } = taken;
  const blob = await taken.blob;
  const rebuilt = await api.reconstruct(model.value, blob);
  const [[original, reconstruction]] = await framesOf(rebuilt);
  const { mu, sigma } = await api.encode(model.value, blob);
  const found = await api.imageFactors(model.value, blob);
  const novelty = found.images[0].novelty.percentile;
  const shown = { original, reconstruction, difference: difference(original, reconstruction) };
  const facts = { label, sample, novelty, resized: rebuilt.resized, mu: mu[0], sigma: sigma[0] };
  source = taken;
  image.value = { ...shown, ...facts };
  z.value = kept ?? mu[0].map(rounded);
  refresh();
}

export const stop = () => { playing.value = null; };

export function setLatent(factor, value) {
  stop();
  sweepTo(factor, value);
}

export function sweepTo(factor, value) {
  active.value = factor;
  z.value = z.value.with(factor.dim, rounded(value));
  const frame = strips.value.get(factor.dim)?.[nearest(factor)];
  if (frame) picture.value = { frame };
  refresh();
}

// The frame of a dimension's strip that stands nearest to where the dimension is.
export function nearest(factor) {
  const { low, high } = rangeOf(factor);
  const place = Math.round(((z.value[factor.dim] - low) / (high - low)) * (STEPS - 1));
  return Math.min(STEPS - 1, Math.max(0, place));
}

const home = () => image.value?.mu ?? means(model.value.factors);

export const resetLatent = (factor) => setLatent(factor, home()[factor.dim]);

export function resetAll() {
  stop();
  z.value = home().map(rounded);
  refresh();
}

export function rename(factor, name) {
  const { [factor.dim]: _, ...others } = names.value;
  names.value = name && name !== factor.name ? { ...others, [factor.dim]: name } : others;
  keepNames(model.value, names.value);
}

export function unfold(open) {
  unfolded.value = open;
  if (open) wish("strips", showStrips);
}

let waiting;
function refresh() {
  wish("picture", showPicture);
  clearTimeout(waiting);
  waiting = setTimeout(() => wish("strips", showStrips), STRIPS_WAIT_MS);
}

async function showPicture() {
  const asked = z.value;
  if (model.value.columns) return;
  const answer = await api.decode(model.value, [asked]);
  const [[frame]] = await framesOf(answer);
  if (asked === z.value) picture.value = { frame, png: answer.png, of: asked };
}

async function showStrips() {
  const asked = z.value;
  const shown = unfolded.value ? model.value.factors : relevant.value;
  const swept = shown.filter((one) => !isClosed(one)).slice(0, MOST_STRIPS);
  const dims = swept.map((one) => one.dim);
  if (!dims.length || model.value.columns) return;
  const rows = await framesOf(await api.traverse(model.value, asked, dims, STEPS));
  if (asked === z.value) strips.value = new Map(dims.map((dim, row) => [dim, rows[row]]));
}

// A version that was taken away while the page was open: see which ones there are now.
whenProblem((problem) => {
  if (/unknown-(model|version)$/.test(problem.type)) wish("models", loadModels);
});

addEventListener("hashchange", () => {
  dismiss();
  start();
});

let writing;
effect(() => {
  const [latents, sample] = [z.value, image.value?.sample ?? null];
  const shown = { ...model.value, seed: seed.value, sample, z: latents };
  clearTimeout(writing);
  if (latents.length) writing = setTimeout(() => writeAddress(shown), ADDRESS_WAIT_MS);
});
