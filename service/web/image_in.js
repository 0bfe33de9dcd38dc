// First zone: an image comes in, and is seen as the model sees it.
import { html } from "./html.js";
import { useEffect, useState } from "preact/hooks";
import { Picture } from "./pictures.js";
import { complain } from "./queue.js";
import { IMAGE_TYPES, drawOthers, image, samples, takeFile, takeSample } from "./state.js";

export function ImageIn() {
  const [over, setOver] = useState(false);
  useEffect(() => watchPage(setOver), []);
  return html`
    <section class=${`image-in ${over ? "over" : ""}`} aria-labelledby="image-in">
      <h2 id="image-in">Image in</h2>
      <label class="file">Choose a file
        <input type="file" accept=${IMAGE_TYPES.join(",")}
          onChange=${(event) => takeFrom(event.target.files, event.target)} />
      </label>
      <p class="hint">Or drop or paste a picture, or click a sample.</p>
      ${image.value ? html`<${Rebuilt} ...${image.value} />` : html`<p class="hint">
        No image yet: the sliders start where the address or the training mean puts them.</p>`}
      <${Samples} />
    </section>`;
}

function Rebuilt({ original, reconstruction, difference, label, novelty, resized }) {
  const shown = { original, reconstruction, difference: difference.pixels };
  return html`
    <div class="rebuilt">
      ${Object.entries(shown).map(([name, frame]) => html`
        <figure key=${name}>
          <${Picture} frames=${[frame]} label=${`${name} of ${label}`} />
          <figcaption>${name}</figcaption>
        </figure>`)}
    </div>
    <p class="facts">${label}: ${noveltyText(novelty)};
      mean difference ${(100 * difference.mean).toFixed(1)} %.
      ${resized && " It was resized to the model's size."}</p>`;
}

function noveltyText(percentile) {
  const rounded = Math.round(percentile);
  return `novelty percentile ${rounded} (${rounded} % of the training images are explained better)`;
}

function Samples() {
  return html`
    <div class="head"><h3>Samples</h3><button onClick=${drawOthers}>Draw others</button></div>
    <ul class="samples">
      ${samples.value.map((frame, index) => html`
        <li key=${index}>
          <button aria-pressed=${image.value?.sample === index}
            aria-label=${`Take sample ${index + 1}`} onClick=${() => takeSample(index)}>
            <${Picture} frames=${[frame]} /></button>
        </li>`)}
    </ul>
    <p class="hint">The model's own pictures of latents drawn as the training data spread.</p>`;
}

function takeFrom(files, input) {
  const [file, ...others] = files;
  const label = file?.name || "pasted picture";
  if (file) takeFile(file, label);
  if (others.length) {
    complain(`One picture at a time: of the ${files.length} files ${label} was taken.`);
  }
  if (input) input.value = ""; // so that the same file can be chosen again
}

function takeDropped({ files }) {
  takeFrom(files);
  if (!files.length) complain("This was no file. Save the picture and drop the file that holds it.");
}

// Files may be dropped anywhere on the page, and pasted.
function watchPage(setOver) {
  const listeners = {
    dragover: (event) => { event.preventDefault(); setOver(true); },
    dragleave: (event) => { if (!event.relatedTarget) setOver(false); },
    drop: (event) => { event.preventDefault(); setOver(false); takeDropped(event.dataTransfer); },
    paste: (event) => takeFrom(event.clipboardData.files),
  };
  for (const [name, react] of Object.entries(listeners)) addEventListener(name, react);
  return () => {
    for (const [name, react] of Object.entries(listeners)) removeEventListener(name, react);
  };
}
