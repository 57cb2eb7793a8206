// What is drawn, and where. Graphviz laid out each level as if all in it were closed; here room is made for what is open,
// and for text that is wider than was thought: each level is stretched, so nothing overlaps that did not before.

const CARD = { padding: 12, line: 16, above: 7, below: 8, header: 28, inset: 16 };
const ROUND = 12; // how far from a corner a line leaves its way
const JOG = 18; // where lines go aside to the ports of an open module

function buildScene(graph, state, direction) {
  const scene = { items: [], arcs: [], shown: new Map(), direction, state };
  arrange(graph.root, scene);
  spread(graph.root, 0, 0, [0, graph.root.high], scene);
  return Object.assign(scene, { width: graph.root.wide, height: graph.root.high });
}

/** Gives a level its size: each vertex gets as much room as it needs, left and right of its line, and down. */
function arrange(level, scene) {
  const { boxes, items } = level;
  level.rooms = boxes.map((_, vertex) =>
    items[vertex] ? roomFor(items[vertex], scene) : { left: 0, right: 0, above: 0, height: 0 },
  );
  const halves = boxes.map(([x, , width], vertex) => {
    const { left, right } = level.rooms[vertex];
    return [
      [x - width / 2, x, left],
      [x, x + width / 2, right],
    ];
  });
  level.across = stretch([...halves.flat(), [0, level.width, 0]]);
  level.down = stretch(
    boxes.map(([, y, , height], vertex) => [y - height / 2, y + height / 2, level.rooms[vertex].height]),
  );
  Object.assign(level, { wide: 2 * Math.ceil(level.across.end / 2), high: level.down.end });
}

/** Where coordinates go, so that each span, from and to, is as long as it needs to be; nothing gets shorter. */
function stretch(spans) {
  const stops = [...new Set(spans.flatMap(([from, to]) => [from, to]))].sort((one, other) => one - other);
  const ending = new Map(stops.map((stop) => [stop, []]));
  for (const [from, to, need] of spans) if (from < to) ending.get(to).push([from, need]);
  const places = new Map();
  let [last, end] = [stops[0] ?? 0, 0];
  for (const [stop, needs] of ending) {
    end += stop - last;
    for (const [from, need] of needs) end = Math.max(end, places.get(from) + need);
    places.set(stop, end);
    last = stop;
  }
  const at = (value) => {
    let [low, high] = [0, stops.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (stops[middle] <= value) low = middle;
      else high = middle;
    }
    const [from, to] = [stops[low], stops[high]];
    const share = from === to ? 0 : (places.get(to) - places.get(from)) / (to - from);
    return Math.round(10 * (places.get(from) + (value - from) * share)) / 10;
  };
  return { at, end };
}

/** Writes an item's card, lays out what is in it, and tells how much room that takes. */
function roomFor(item, scene) {
  const { open, unfolded } = scene.state;
  item.unfolded = Boolean(item.members) && unfolded.has(item.id);
  item.open = item.kind === "module" && open.has(item.id);
  writeCard(item, scene.direction);
  item.inner = item.unfolded ? item.members : item.open ? item.level : null;
  if (!item.inner) return { left: item.width / 2, right: item.width / 2, above: 0, height: item.height };
  arrange(item.inner, scene);
  const [edge, least] = item.unfolded ? [0, 0] : [CARD.inset, item.titleWidth];
  item.width = Math.max(item.inner.wide + 2 * edge, least);
  item.inset = Math.round((item.width - item.inner.wide) / 2);
  item.header = edge && CARD.header + edge / 2;
  item.height = item.header + item.inner.high + edge;
  const ports = ["in", "out"].map((side) => Object.keys(item.inner[side]).map((name) => portOf(item, side, name)));
  const left = ports.flat()[0] ?? item.width / 2;
  const [above, below] = ports.map((all) => (all.every((x) => x === left) ? 0 : JOG));
  return { left, right: item.width - left, above, height: above + item.height + below };
}

/** How far from the left of an open item a port is. */
function portOf({ inner, inset }, side, name) {
  return inset + inner.across.at(inner.boxes[inner[side][name]][0]);
}

/** Collects what is in a level, at its place in the whole; its ports are at the `top` and the `bottom` around it. */
function spread(level, left, top, edges, scene) {
  for (const [vertex, item] of level.items.entries()) {
    const [x, y, , height] = level.boxes[vertex];
    const room = level.rooms[vertex];
    const [start, end] = [level.down.at(y - height / 2), level.down.at(y + height / 2)];
    item.x = left + level.across.at(x) - room.left;
    item.y = top + start + room.above + Math.round((end - start - room.height) / 2);
    if (!item.unfolded) {
      scene.items.push(item);
      scene.shown.set(item.id, item);
    }
    if (item.inner)
      spread(item.inner, item.x + item.inset, item.y + item.header, [item.y, item.y + item.height], scene);
  }
  for (const [place, arc] of level.arcs.entries()) addArcs(level, arc, place, [left, top], edges, scene);
}

/** Adds the line of an arc; one for each tensor where they go to different ports. */
function addArcs(level, [tail, head, wide, dead, carried], place, [left, top], edges, scene) {
  const points = (level.lines[place] ?? []).map(([x, y]) => [left + level.across.at(x), top + level.down.at(y)]);
  const ends = [tail, head].map((vertex) => level.items[vertex]);
  const lines = new Map();
  for (const [source, targets] of Object.entries(carried)) {
    const [start, end] = ends.map((item, side) => {
      const port = level.rooms[[tail, head][side]];
      if (!item) return [left + level.across.at(level.boxes[[tail, head][side]][0]), edges[side]];
      return [
        item.x + (item.inner ? portOf(item, side ? "in" : "out", source) : port.left),
        item.y + (side ? 0 : item.height),
      ];
    });
    const path = [start, ...points, end];
    if (!lines.has(`${start} ${end}`)) {
      const [starts, stops] = ends.map((item) => item && !item.inner);
      const arc = { id: `arc${scene.arcs.length}`, wide, dead, starts, stops, sources: new Set(), targets: new Set() };
      lines.set(`${start} ${end}`, Object.assign(arc, { d: pathThrough(path), bounds: boundsOf(path) }));
      scene.arcs.push(arc);
    }
    const { sources, targets: reached } = lines.get(`${start} ${end}`);
    sources.add(scene.state.shownFor(`node:${source}`));
    for (const target of targets) reached.add(scene.state.shownFor(`node:${target}`));
  }
}

/** A line through points with round corners, to both ends of which a line or a gentle S leads. */
function pathThrough([start, ...points]) {
  const lead = ([x, y], [across, down]) => {
    if (x === across && y === down) return ""; // a line of no length would turn its arrowhead anywhere
    const half = (y + down) / 2;
    return x === across ? `L${across} ${down}` : `C${x} ${half} ${across} ${half} ${across} ${down}`;
  };
  const end = points.pop();
  const [first, last] = [points[0] ?? end, points.at(-1) ?? end];
  const corners = points.slice(1, -1).map((corner, place) => {
    const [before, after] = [points[place], points[place + 2]].map((next) => towards(corner, next));
    return `L${before.join(" ")}Q${corner.join(" ")} ${after.join(" ")}`;
  });
  return `M${start.join(" ")}${lead(start, first)}${corners.join("")}L${last.join(" ")}${lead(last, end)}`;
}

/** A point a little way from one to another. */
function towards([x, y], [across, down]) {
  const share = Math.min(0.5, ROUND / (Math.hypot(across - x, down - y) || 1));
  return [x + share * (across - x), y + share * (down - y)].map((value) => value.toFixed(1));
}

function boundsOf(points) {
  const [across, down] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [x, y] = [Math.min(...across), Math.min(...down)];
  return { x, y, width: Math.max(...across) - x, height: Math.max(...down) - y };
}
