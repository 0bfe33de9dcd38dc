// Third zone: the current picture, and ways to take it away.
import { html } from "./html.js";
import { effect, signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { hasKey, to } from "./api.js";
import { Picture } from "./pictures.js";
import { PlayButton } from "./play.js";
import { active, model, picture, playing, stop, z } from "./state.js";

const saving = signal(null); // the z whose picture is saved as soon as it is decoded

export function Result() {
  const [copied, setCopied] = useState(null);
  return html`
    <section class="result" aria-labelledby="result">
      <div class="shown">
        <h2 id="result">Result</h2>
        ${picture.value
          ? html`<${Picture} frames=${[picture.value.frame]} label="The decoded picture" />`
          : html`<p class="hint empty">The picture comes as soon as the service has decoded it.</p>`}
        <div class="actions">
          ${active.value && html`<${PlayButton} factor=${active.value} withName=${true} />`}
          <button disabled=${!picture.value?.png && !playing.value && !saving.value}
            onClick=${download}>Download PNG</button>
          <button onClick=${async () => setCopied(await copyAsCurl())}>Copy as curl</button>
        </div>
      </div>
      ${copied?.of === z.value && html`<${Curl} ...${copied} />`}
    </section>`;
}

// A sweep shows frames of a strip: it ends here, and its last picture is decoded.
function download() {
  stop();
  saving.value = z.value;
}

effect(() => {
  if (!saving.value) return;
  const there = picture.value?.of === saving.value;
  if (there) save();
  if (there || saving.value !== z.value) saving.value = null;
});

function save() {
  const { name, version } = model.value;
  const address = URL.createObjectURL(picture.value.png);
  const link = document.createElement("a");
  Object.assign(link, { href: address, download: `${name}-${version}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000); // once the download has begun
}

async function copyAsCurl() {
  stop(); // the command is shown as long as it is that of the picture
  const [text, of] = [curl(), z.value];
  // A page that came over plain HTTP from elsewhere has no clipboard.
  const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  return { text, done, of };
}

function Curl({ text, done }) {
  return html`
    <label class="curl">${done ? "Copied:" : "Select it and copy:"}
      <textarea readonly rows="4" value=${text}
        onFocus=${(event) => event.target.select()} /></label>`;
}

function curl() {
  const address = new URL(to("decode", model.value, { dims: "all" }), document.baseURI);
  const key = hasKey() ? ' -H "Authorization: Bearer $RFVAE_API_KEY"' : "";
  const body = JSON.stringify({ latents: [z.value] });
  return `curl -s '${address}'${key} -H 'Content-Type: application/json' -d '${body}' -o picture.png`;
}
