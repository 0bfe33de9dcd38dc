// What outlives the page: the state in its address, and names of dimensions in the browser.
const LATENT_DIGITS = 4;

export const rounded = (value) => Number(value.toFixed(LATENT_DIGITS));

// { name, version, seed, sample, z } as far as the address has them; z is [] if not numbers.
export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (key) => (/^\d{1,9}$/.test(given.get(key) ?? "") ? Number(given.get(key)) : null);
  const z = given.get("z")?.split(",").map(Number) ?? null;
  return {
    name: given.get("model"),
    version: number("version"),
    seed: number("seed"),
    sample: number("sample"),
    z: z && (z.every((value) => Math.abs(value) < 1e6) ? z : []),
  };
}

export function writeAddress({ name, version, seed, sample, z }) {
  const kept = new URLSearchParams({ model: name, version, seed });
  if (sample !== null) kept.set("sample", sample);
  history.replaceState(null, "", `#${kept}&z=${z.map(rounded).join(",")}`);
}

export function readNames(model) {
  try {
    return JSON.parse(localStorage.getItem(place(model))) ?? {};
  } catch {
    return {}; // storage is switched off, or holds something else
  }
}

export function keepNames(model, names) {
  try {
    localStorage.setItem(place(model), JSON.stringify(names));
  } catch {
    // storage is switched off or full: the name lasts as long as the page
  }
}

const place = ({ name, version }) => `rfvae.names.${name}.${version}`;
