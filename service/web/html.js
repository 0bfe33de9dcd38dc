// Templates: tagged text to Preact's elements.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);
