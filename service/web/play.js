// A dimension swept to and fro, from where it stands.
import { html } from "./html.js";
import { effect } from "@preact/signals";
import { isClosed, nameOf, playing, rangeOf, sweepTo, z } from "./state.js";

const TICK_MS = 80;
const TICKS = 40; // from one end to the other

export function PlayButton({ factor, withName }) {
  if (isClosed(factor)) return null;
  const on = playing.value === factor;
  const text = `${on ? "Stop" : "Play"} ${nameOf(factor)}`;
  const toggle = () => { playing.value = on ? null : factor; };
  return html`<button aria-pressed=${on} aria-label=${text} title=${text} onClick=${toggle}>
    ${on ? "■" : "▶"}${withName && ` ${text}`}</button>`;
}

effect(() => {
  const factor = playing.value;
  if (!factor) return undefined;
  const { low, high } = rangeOf(factor);
  let step = (high - low) / TICKS;
  const tick = () => {
    const next = z.value[factor.dim] + step;
    if (next > high || next < low) step = next > high ? -Math.abs(step) : Math.abs(step);
    sweepTo(factor, Math.min(high, Math.max(low, next)));
  };
  const ticking = setInterval(tick, TICK_MS);
  return () => clearInterval(ticking);
});
