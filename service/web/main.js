// The page: a heading with the choice of model, what is wrong if something is, and three zones.
import { render } from "preact";
import { html } from "./html.js";
import { timing } from "./api.js";
import { doing, isLong } from "./queue.js";
import { Dimensions } from "./dimensions.js";
import { ImageIn } from "./image_in.js";
import { Notices } from "./notices.js";
import { Result } from "./result.js";
import { choose, model, models, relevant, start } from "./state.js";

const DOING = {
  models: "Asking which models there are …",
  model: "Loading the model's dimensions …",
  samples: "Drawing samples …",
  image: "Reading the image …",
};
// These come with every move of a slider: only slow ones are worth a word.
const DOING_LONG = {
  picture: "Decoding the picture …",
  strips: "Decoding the strips …",
};
const doingText = () => DOING[doing.value] ?? (isLong.value && DOING_LONG[doing.value]);

function Page() {
  return html`
    <header>
      <h1 tabindex="-1">Latent explorer</h1>
      <${ModelChoice} />
      <nav><a href="docs">API</a></nav>
      <p class="corner"><span role="status">${doingText()}</span> <${Stages} /></p>
    </header>
    <${Notices} />
    <main><${Zones} /></main>`;
}

function ModelChoice() {
  const current = models.value.findIndex(
    ({ name, version }) => name === model.value?.name && version === model.value?.version);
  return html`
    <label>Model${" "}
      <select value=${current} onChange=${(event) => choose(models.value[event.target.value])}>
        ${models.value.map(({ name, version }, index) => html`
          <option key=${index} value=${index} selected=${index === current}>
            ${name} · version ${version}</option>`)}
      </select>
    </label>`;
}

function Zones() {
  if (!model.value) return html`<p class="hint">Waiting for the service to name its models.</p>`;
  const { name, columns } = model.value;
  if (columns) {
    return html`<p class="hint">
      This page shows models of images; ${name} is a model of rows of numbers
      (${columns.join(", ")}). Choose another model above, or ask this one with POST /encode and /decode, which${" "}
      <a href="docs">the API's page</a> describes.</p>`;
  }
  return html`
    <${ImageIn} /><${Result} /><${Dimensions} key=${`${name} ${model.value.version}`} />
    <p class="hint foot">${relevant.value.length} of ${model.value.factors.length} dimensions are
      relevant. The address keeps model, samples and sliders; an image of your own is not kept.</p>`;
}

function Stages() {
  if (!timing.value || doingText()) return null;
  const { path, stages, total_ms } = timing.value;
  const shown = stages.filter(([name]) => name !== "total");
  const parts = shown.map(([name, ms]) => `${name} ${Number(ms).toFixed(1)}`);
  return html`<span title="Milliseconds in the service, and as this browser saw it">
    ${path}: ${parts.join(" · ")} · browser ${total_ms.toFixed(0)} ms</span>`;
}

const page = document.getElementById("page");
page.replaceChildren();
render(html`<${Page} />`, page);
start();
