// Second zone: one row a dimension, the relevant ones first, the others folded away.
import { html } from "./html.js";
import { useRef, useState } from "preact/hooks";
import { rounded } from "./address.js";
import { Picture } from "./pictures.js";
import { PlayButton } from "./play.js";
import * as state from "./state.js";

const SLIDER_STEPS = 400; // whole numbers: arrow keys move by one and both ends can be reached
const ROUNDING = 1e-3; // so much an end of the range may lose

export function Dimensions() {
  const { nuisance, relevant } = state;
  return html`
    <section class="dimensions" aria-labelledby="dimensions">
      <div class="head">
        <h2 id="dimensions">Dimensions</h2>
        <button onClick=${state.resetAll}>Reset all</button>
      </div>
      <p class="hint">Sliders go over the 1–99 % range of the training data.
        ${state.image.value && " The line marks this image's mu, the band ± sigma."}
        ${" "}Double-click or Delete resets one.</p>
      ${relevant.value.map((factor) => html`<${Dimension} key=${factor.dim} factor=${factor} />`)}
      ${relevant.value.length === 0 && html`
        <p class="hint">This model found no relevant dimension; all are folded below.</p>`}
      ${nuisance.value.length > 0 && html`
        <details open=${state.unfolded.value}
          onToggle=${(event) => state.unfold(event.target.open)}>
          <summary>${counted(nuisance.value.length)}</summary>
          ${state.unfolded.value && nuisance.value.map((factor) => html`
            <${Dimension} key=${factor.dim} factor=${factor} />`)}
        </details>`}
    </section>`;
}

const counted = (count) => `${count} nuisance dimension${count === 1 ? "" : "s"}`;

function Dimension({ factor }) {
  const value = state.z.value[factor.dim];
  const { low, high } = state.rangeOf(factor);
  return html`
    <div class=${`dimension ${state.active.value === factor ? "active" : ""}`}>
      <div class="line">
        <${Name} factor=${factor} />
        <${Relevance} value=${factor.relevance} />
        <span class="value">${value.toFixed(2)}</span>
        <${PlayButton} factor=${factor} />
      </div>
      ${factor.changes.length > 0 && html`
        <p class="facts">On one typical image, from left to right:${" "}
          ${factor.changes.join(", ")}.</p>`}
      ${state.isClosed(factor)
        ? html`<p class="facts">Closed: always ${rounded(factor.mu_mean)}, whatever the image.</p>`
        : html`<${Sweep} factor=${factor} value=${value} low=${low} high=${high} />`}
      ${(value < low - ROUNDING || value > high + ROUNDING) && html`
        <p class="facts">Outside of the training data's 1–99 % range
          (${low.toFixed(2)} to ${high.toFixed(2)}).</p>`}
    </div>`;
}

function Sweep({ factor, value, low, high }) {
  const frames = state.strips.value.get(factor.dim);
  const move = (to) => state.setLatent(factor, to);
  const keys = (event) => {
    if (event.key === "Delete" || event.key === "Backspace") state.resetLatent(factor);
  };
  return html`
    <div class="sweep">
      <div class="slider">
        <${Marks} factor=${factor} low=${low} high=${high} />
        <input id=${`dim-${factor.dim}`} type="range" min="0" max=${SLIDER_STEPS}
          value=${((value - low) / (high - low)) * SLIDER_STEPS}
          aria-valuetext=${value.toFixed(2)} onPointerDown=${state.stop}
          onInput=${(event) => move(low + along(event.target) * (high - low))} onKeyDown=${keys}
          onDblClick=${() => state.resetLatent(factor)} />
      </div>
      <div class="strip" style=${frames && { aspectRatio: shapeOf(frames) }}
        onClick=${(event) => move(clicked(event, low, high))}>
        ${frames && html`<${Picture} frames=${frames} />
          <span class="here" style=${{ left: `${(100 * state.nearest(factor)) / state.STEPS}%` }} />`}
      </div>
    </div>`;
}

const along = (slider) => slider.valueAsNumber / SLIDER_STEPS;
const shapeOf = (frames) => (frames.length * frames[0].width) / frames[0].height;

// The value of the frame that was clicked.
function clicked(event, low, high) {
  const box = event.currentTarget.getBoundingClientRect();
  const frame = Math.floor(((event.clientX - box.left) / box.width) * state.STEPS);
  return low + (frame / (state.STEPS - 1)) * (high - low);
}

function Name({ factor }) {
  const [open, setOpen] = useState(false);
  const byKey = useRef(false); // then the focus goes back to where it was
  const name = state.nameOf(factor);
  const close = (event) => {
    state.rename(factor, event.target.value.trim());
    setOpen(false);
  };
  const keys = (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // Enter would press the button that has the focus next
    if (event.key === "Escape") event.target.value = name;
    byKey.current = true;
    event.target.blur();
  };
  const closed = (button) => {
    if (button && byKey.current) button.focus();
    if (button) byKey.current = false;
  };
  if (open) {
    return html`<input class="name" value=${name} maxlength="40" aria-label=${`Name of ${name}`}
      ref=${(input) => input?.focus()} onKeyDown=${keys} onBlur=${close} />`;
  }
  return html`
    <label class="name" for=${`dim-${factor.dim}`}>${name}</label>
    <button class="plain" ref=${closed}
      title="Kept in this browser; an empty name brings the model's back"
      aria-label=${`Rename ${name}`} onClick=${() => setOpen(true)}>✎</button>`;
}

function Relevance({ value }) {
  return html`<span class="relevance" title="Relevance, 0 to 1">
    <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * value}%` }} /></span>
    <span class="unseen">relevance </span>${value.toFixed(2)}</span>`;
}

// Where this image stands: a line at mu in a band of ± sigma.
function Marks({ factor, low, high }) {
  if (!state.image.value) return null;
  const [mu, sigma] = [state.image.value.mu[factor.dim], state.image.value.sigma[factor.dim]];
  const share = (value) => Math.min(100, Math.max(0, (100 * (value - low)) / (high - low)));
  const [left, right] = [share(mu - sigma), share(mu + sigma)];
  return html`<div class="marks" aria-hidden="true">
    <span class="band" style=${{ left: `${left}%`, width: `${right - left}%` }} />
    <span class="mu" style=${{ left: `${share(mu)}%` }} /></div>`;
}
