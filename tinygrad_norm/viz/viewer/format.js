// Numbers and shapes in a few characters.

function inUnits(value, units) {
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toPrecision(3))}${units[unit]}`;
}

const asCount = (value) => inUnits(value, ["", "k", "M", "G", "T"]);
const asFlops = (value) => inUnits(value, [" FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP"]);
const asBytes = (value) => inUnits(value, [" B", " kB", " MB", " GB", " TB"]);
const asSeconds = (value) => inUnits(value * 1e6, [" µs", " ms", " s"]);
const asShape = (shape) => (shape.length ? shape.join("×") : "scalar");
const many = (value, word) => `${asCount(value)} ${word}${value === 1 ? "" : "s"}`;

/** From the least to the most of the norms that are known, of which what is no number is the most. */
function asNorms(values) {
  const rank = (value) => (Number.isNaN(value) ? Infinity : value);
  const known = values.filter((value) => value !== null).sort((one, other) => rank(one) - rank(other) || 0);
  return [...new Set([known[0], known.at(-1)])].filter((value) => value !== undefined).map(asNorm).join("…");
}

function asNorm(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : "∞";
  return value !== 0 && (value < 1e-3 || value >= 1e4) ? value.toExponential(1) : `${Number(value.toPrecision(3))}`;
}
