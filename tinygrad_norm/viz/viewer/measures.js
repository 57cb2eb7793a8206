// What a node or a module costs, and the colours and the scale that show it.

/** Each measure: `of` reads it from an item, null where it is not known; `missing` says why it can be so everywhere. */
const MEASURES = {
  kind: { label: "Kind" },
  time: {
    label: "Time",
    title: "Time, forward and backward",
    of: (item) =>
      sumOfKnown(
        item.totals?.forward ?? item.node?.seconds ?? null,
        item.totals?.backward ?? item.node?.backward_seconds ?? null,
      ),
    write: asSeconds,
    missing: "No time was measured: this graph was read from the tape after the run",
  },
  saved: {
    label: "Saved",
    title: "Bytes kept for the way back",
    of: (item) => item.totals?.saved ?? item.node.saved_bytes,
    write: asBytes,
    missing: "Nothing is kept for the way back, or it is freed already",
  },
  flops: {
    label: "FLOPs",
    title: "Floating-point operations, forward: of a fused op, those of its definition",
    of: (item) => (item.node ? item.node.flops : item.totals.flops),
    write: asFlops,
    missing: "No FLOPs are known: nothing was computed, or this graph was read from the tape after a way back",
  },
  gradient: {
    label: "Gradient",
    title: "Norm of the gradient with respect to the output, on a logarithmic scale",
    of: (item) => typical(gradientsOf(item)),
    write: asNorm,
    missing: 'No gradients are known: the graph was made without the way back, which show="gradient" asks for',
    logarithmic: true,
  },
};

function isKnown(tree, measure) {
  const { of } = MEASURES[measure];
  const says = (value) => value !== null && (value !== 0 || measure === "gradient");
  return !of || tree.nodes.some((item) => says(of(item)));
}

const NOT_FINITE = "#d55e00"; // what is infinite or no number, beside the ramp

// Cividis, which colour-blind eyes read alike (Nuñez, Anderton and Renslow 2018), at nine places.
const RAMP = ["00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "fee838"].map((hex) =>
  [0, 2, 4].map((place) => parseInt(hex.slice(place, place + 2), 16)),
);

function rampColour(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const below = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[below].map((value, part) => value + (RAMP[below + 1][part] - value) * (place - below));
  return `rgb(${mixed.map(Math.round).join(" ")})`;
}

/** The value of an item; of a folded run that of all its members together. */
function measured(measure, item) {
  const { of } = MEASURES[measure];
  const summed = item.run?.folded && measure !== "gradient";
  return summed ? item.run.members.map(of).reduce(sumOfKnown, null) : of(item);
}

/** The norm of the gradient at an item, and at each of those for which it is drawn. */
function gradientsOf(item) {
  const copies = (item.node ? [item] : [...item.exits]).map((end) => copiesOf(end, item));
  return copies.length ? copies[0].map((_, place) => joinedNorm(copies.map((ends) => ends[place].node.gradient))) : [];
}

/** Halfway between the least and the most on a logarithmic scale; what is no finite number above 0 comes first. */
function typical(values) {
  const known = values.filter((value) => value !== null);
  const odd = known.find((value) => !(Number.isFinite(value) && value > 0));
  if (!known.length) return null;
  return odd ?? Math.sqrt(Math.min(...known) * Math.max(...known));
}

/**
 * From the values of what is drawn, a scale from the least to the most: the `share` of the way for a value, the `marks`
 * to write on it, and whether values are `broken`, which are not finite.
 */
function scaleOf(measure, items) {
  const { logarithmic } = MEASURES[measure];
  const usable = (value) => Number.isFinite(value) && (value > 0 || !logarithmic);
  let least = logarithmic ? Infinity : 0;
  let most = 0;
  let broken = false;
  for (const item of items) {
    const value = measured(measure, item);
    if (value !== null && !Number.isFinite(value)) broken = true;
    if (value === null || !usable(value)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  if (least > most) least = most;
  const bend = logarithmic ? Math.log : (value) => value;
  const unbend = logarithmic ? Math.exp : (value) => value;
  const span = bend(most) - bend(least);
  const share = (value) => (logarithmic && value === 0 ? 0 : (bend(value) - bend(least)) / (span || 1));
  const at = (part) => (part === 1 ? most : unbend(bend(least) + part * span));
  return { share, broken, marks: least === most ? [most] : [0, 0.5, 1].map(at) };
}

/** How an item is filled: `fill` and whether it is dark; null where the measure says nothing about it. */
function fillFor(measure, scale, item) {
  const value = measured(measure, item);
  if (value === null || (item.node && item.kind !== "op" && measure !== "gradient")) return null;
  if (!Number.isFinite(value)) return { fill: NOT_FINITE, dark: false };
  const share = scale.share(value);
  return { fill: rampColour(share), dark: share < 0.55 };
}
