// What is wrong now, in a sentence that says what to do; and the question for an API key.
import { html } from "./html.js";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { complaint, dismiss, giveKey, trouble } from "./queue.js";

export function Notices() {
  const now = trouble.value;
  return html`<div class="notices" aria-live="assertive">
    ${now && html`
      <div class=${`notice ${now.kind}`}>
        <p>${now.text}</p>
        ${now.kind === "key" && html`<${KeyForm} />`}
      </div>`}
    ${complaint.value && html`<${Complaint} />`}
  </div>`;
}

function Complaint() {
  const notice = useRef();
  useLayoutEffect(() => lendFocus(notice.current), []); // ends while the notice is still there
  return html`
    <div ref=${notice} class="notice error">
      <p>${complaint.value}</p>
      <button onClick=${dismiss}>Close</button>
    </div>`;
}

function KeyForm() {
  const form = useRef();
  useLayoutEffect(() => lendFocus(form.current), []); // ends while the form is still there
  useEffect(() => form.current.elements.key.focus(), [trouble.value]);
  const send = (event) => {
    event.preventDefault();
    giveKey(event.target.elements.key.value.trim());
  };
  return html`
    <form ref=${form} onSubmit=${send}>
      <label>API key <input name="key" type="password" required autocomplete="off" /></label>
      <button>Use it</button>
      <small>It is kept until this tab is closed.</small>
    </form>`;
}

// Once the part goes, the focus goes back to where it was, or to the top of the page. What the
// reader sees stays: the notices lie over it, wherever it is scrolled to.
function lendFocus(part) {
  const before = document.activeElement;
  return () => {
    if (!part.contains(document.activeElement)) return;
    const back = before !== document.body && before.isConnected;
    (back ? before : document.querySelector("h1")).focus({ preventScroll: true });
  };
}
