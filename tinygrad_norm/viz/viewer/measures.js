// Colours for what a node or a module costs, and the scale that they show.

/** Each measure; `missing` says why it can be unknown everywhere. */
const MEASURES = {
  kind: { label: "Kind" },
  time: {
    label: "Time",
    title: "Time, forward and backward",
    missing: "No time was measured: this graph was read from the tape after the run",
  },
  saved: {
    label: "Saved",
    title: "Bytes kept for the way back; what several ops save counts once",
    missing: "Nothing is kept for the way back, or it is freed already",
  },
  flops: {
    label: "FLOPs",
    title: "Floating-point operations, forward: of a fused op, those of its definition",
    missing: "No FLOPs are known: nothing was computed, or this graph was read from the tape after a way back",
  },
  gradient: {
    label: "Gradient",
    title: "Norm of the gradient with respect to the output, on a logarithmic scale",
    missing: 'No gradients are known: the graph was made without the way back, which show="gradient" asks for',
    logarithmic: true,
  },
};

/**
 * From the measures of what is drawn, a scale from the least to the most, or from 0: `fill` says how an item is filled and
 * whether that is dark, or null where it has no such measure; `marks` are the texts at both ends, `broken` whether values
 * are not finite.
 */
function scaleOf(name, items, { ramp, lost }) {
  const { logarithmic } = MEASURES[name];
  const known = items.filter((item) => item.measures[name]).map((item) => item.measures[name]);
  const usable = known.filter(([value]) => Number.isFinite(value) && (value > 0 || !logarithmic));
  usable.sort(([one], [other]) => one - other);
  const most = usable.at(-1) ?? [0, "0"];
  const least = logarithmic ? (usable[0] ?? most) : [0, "0"];
  const bend = logarithmic ? Math.log : (value) => value;
  const span = bend(most[0]) - bend(least[0]) || 1;
  const fill = ({ measures }) => {
    if (!measures[name]) return null;
    const [value] = measures[name];
    if (!Number.isFinite(value)) return { fill: lost, dark: false };
    const share = logarithmic && value === 0 ? 0 : (bend(value) - bend(least[0])) / span;
    return { fill: rampColour(ramp, share), dark: share < 0.55 };
  };
  const marks = least[0] === most[0] ? [most[1]] : [least[1], most[1]];
  return { fill, marks, broken: known.some(([value]) => !Number.isFinite(value)) };
}

function rampColour(ramp, share) {
  const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const below = Math.min(Math.floor(place), ramp.length - 2);
  return `color-mix(in srgb, ${ramp[below]}, ${ramp[below + 1]} ${100 * (place - below)}%)`;
}
