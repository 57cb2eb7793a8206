// What stands on an item, and how large that makes it.

const CARD = { padding: 12, line: 16, above: 7, below: 8, header: 28, inset: 16 };
const FONT = { strong: "600 13px system-ui, sans-serif", plain: "12px system-ui, sans-serif" };

const textWidth = (() => {
  const pen = document.createElement("canvas").getContext("2d");
  const known = new Map();
  return (text, font) => {
    const key = `${font}|${text}`;
    if (!known.has(key)) {
      pen.font = font;
      known.set(key, Math.ceil(pen.measureText(text).width));
    }
    return known.get(key);
  };
})();

/** `title` in bold with `tag` after it, and lines below. */
function writeCard(item, direction) {
  const back = direction !== "forward";
  const write = item.kind === "module" ? writeModule : writeNode;
  Object.assign(item, write(item, back));
  const widths = item.lines.map((line) => textWidth(line, FONT.plain));
  const head = textWidth(item.title, FONT.strong) + (item.tag ? textWidth(item.tag, FONT.plain) + 8 : 0);
  item.badge = badgeOf(item);
  item.titleWidth = head + 2 * CARD.padding + (item.badge ? item.badge.width + 8 : 0);
  item.width = even(Math.max(item.titleWidth, ...widths.map((width) => width + 2 * CARD.padding)));
  item.height = CARD.above + CARD.line * (1 + item.lines.length) + CARD.below;
}

function writeNode(item, back) {
  const { name, node } = item;
  const lines = [asShape(node.shape)];
  const gradient = back && node.gradient !== null ? [`‖∇‖ ${asNorms(gradientsOf(item))}`] : [];
  const saved = back && node.saved_bytes ? [`saves ${asBytes(node.saved_bytes)}`] : [];
  if (gradient.length || saved.length) lines.push([...gradient, ...saved].join(" · "));
  return { title: elided(name), tag: "", lines };
}

function writeModule(module, back) {
  const exits = [...module.exits];
  const shape = exits.length === 1 ? asShape(exits[0].node.shape) : exits.length ? many(exits.length, "output") : "";
  const lines = [totalsOf(module).join(" · ") + (module.run?.folded ? " in all" : "")];
  const gradients = back ? asNorms(gradientsOf(module)) : "";
  if (gradients) lines.push(`‖∇‖ ${gradients} at its output`);
  return { title: elided(module.name), tag: [elided(module.type), shape].filter(Boolean).join(" · "), lines };
}

/** Of a folded run, the totals of all its members. */
function totalsOf(module) {
  const members = module.run?.folded ? module.run.members : [module];
  const sum = (read) => members.map(read).reduce(sumOfKnown, null);
  const [ops, parameters, flops, saved] = ["ops", "parameters", "flops", "saved"].map((name) =>
    sum((m) => m.totals[name]),
  );
  const time = sum(MEASURES.time.of);
  return [
    many(ops, "op"),
    ...(parameters ? [many(parameters, "parameter")] : []),
    ...(flops ? [asFlops(flops)] : []),
    ...(saved ? [`saves ${asBytes(saved)}`] : []),
    ...(time === null ? [] : [asSeconds(time)]),
  ];
}

function badgeOf({ run, place }) {
  if (!run || place > 0) return null;
  const text = `${run.folded ? "×" : "fold"} ${run.members.length}`;
  return { text, width: textWidth(text, FONT.strong) + 14 };
}

/** So that middles are whole, and lines between them straight. */
function even(width) {
  return 2 * Math.ceil(width / 2);
}

/** A name that is very long keeps its beginning and its end; the facts have all of it. */
function elided(text) {
  const letters = [...text];
  return letters.length > 48 ? `${letters.slice(0, 30).join("")}…${letters.slice(-17).join("")}` : text;
}

/** An item in words, for those who hear the page. */
function spoken(item) {
  const folded = item.run?.folded ? `${item.run.members.length} times` : "";
  const kind = item.kind === "op" && item.node.fused ? "fused op" : item.kind;
  return [item.title, item.tag, kind, folded, ...item.lines].filter(Boolean).join(", ");
}
