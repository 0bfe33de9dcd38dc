// Latents drawn as the training data spread: the same seed gives the same ones.
const PERCENTILES = [1, 5, 25, 50, 75, 95, 99];

// One row of latents for each sample; nuisance dimensions stay at their training mean.
export function drawLatents(factors, count, seed) {
  const random = randomFrom(seed);
  return Array.from({ length: count }, () => {
    const z = means(factors);
    for (const factor of factors.filter((one) => one.relevant)) {
      z[factor.dim] = quantile(factor.mu_quantiles, 1 + 98 * random());
    }
    return z;
  });
}

export function means(factors) {
  const z = Array(factors.length).fill(0);
  for (const factor of factors) z[factor.dim] = factor.mu_mean;
  return z;
}

// Between the known percentiles, in a straight line.
function quantile(quantiles, percentile) {
  const next = Math.max(1, PERCENTILES.findIndex((one) => one >= percentile));
  const [low, high] = [PERCENTILES[next - 1], PERCENTILES[next]];
  const along = (percentile - low) / (high - low);
  return quantiles[`p${low}`] + along * (quantiles[`p${high}`] - quantiles[`p${low}`]);
}

// mulberry32: 32 bits of state are plenty for a dozen pictures.
function randomFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
