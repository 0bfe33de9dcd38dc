// Pixels: from a sprite to frames, the difference of two, and canvases that show them.
import { html } from "./html.js";
import { useEffect, useRef } from "preact/hooks";

const GAP = 2; // pixels between the frames of a sprite

// The frames of an answer, row by row, as ImageData.
export async function framesOf({ png, rows, columns }) {
  const sprite = await createImageBitmap(png, { colorSpaceConversion: "none" });
  const pen = penOf(sprite.width, sprite.height);
  pen.drawImage(sprite, 0, 0);
  const width = (sprite.width + GAP) / columns - GAP;
  const height = (sprite.height + GAP) / rows - GAP;
  const frame = (row, column) =>
    pen.getImageData(column * (width + GAP), row * (height + GAP), width, height);
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => frame(row, column)));
}

export function asPng(pixels) {
  const pen = penOf(pixels.width, pixels.height);
  pen.putImageData(pixels, 0, 0);
  return new Promise((resolve) => pen.canvas.toBlob(resolve, "image/png"));
}

// |first - second| as a picture, and its mean in [0, 1].
export function difference(first, second) {
  const pixels = new ImageData(first.width, first.height);
  let sum = 0;
  for (let i = 0; i < pixels.data.length; i += 1) {
    const alpha = i % 4 === 3;
    pixels.data[i] = alpha ? 255 : Math.abs(first.data[i] - second.data[i]);
    if (!alpha) sum += pixels.data[i];
  }
  return { pixels, mean: sum / 255 / (first.width * first.height * 3) };
}

// Frames beside each other in one canvas, in the pixels' own size; CSS scales it.
export function Picture({ frames, label }) {
  const canvas = useRef();
  const { width, height } = frames[0];
  useEffect(() => {
    const pen = canvas.current.getContext("2d");
    frames.forEach((frame, index) => pen.putImageData(frame, index * width, 0));
  }, [frames]);
  const size = { width: width * frames.length, height };
  return label
    ? html`<canvas ref=${canvas} ...${size} role="img" aria-label=${label} />`
    : html`<canvas ref=${canvas} ...${size} aria-hidden="true" />`;
}

function penOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { willReadFrequently: true });
}
