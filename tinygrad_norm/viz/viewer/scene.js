// What is drawn: each open module is a level, laid out by itself, and a box in the level around it.
// A line that leaves or enters a box passes a port on its edge, one for all lines from the same source.

function buildScene(tree, direction) {
  const levels = new Map();
  for (const edge of tree.edges) {
    const ends = drawnEnds(tree, edge);
    if (ends) routeEdge(tree, levels, ...ends, edge.source);
  }
  const scene = { items: [], arcs: [], direction };
  arrange(levels, tree.root, direction);
  spread(levels, tree.root, 0, 0, scene);
  scene.width = tree.root.width;
  scene.height = tree.root.height;
  return scene;
}

function levelOf(levels, module) {
  if (!levels.has(module)) levels.set(module, { arcs: new Map(), ports: new Map() });
  return levels.get(module);
}

/** Adds the arcs of one edge: out of the boxes around its source, across, and into those around its target. */
function routeEdge(tree, levels, source, target, maker) {
  const depth = sharedDepth(source, target);
  let [tail, tailPort] = [source, null];
  const join = (module, head, headPort) => {
    const { arcs } = levelOf(levels, module);
    const key = `${tail.key} ${tailPort?.key} ${head.key} ${headPort?.key}`;
    const [sources, targets] = [new Set(), new Set()];
    if (!arcs.has(key)) arcs.set(key, { tail, tailPort, head, headPort, sources, targets, maker });
    arcs.get(key).sources.add(source);
    arcs.get(key).targets.add(target);
  };
  for (const module of source.lineage.slice(depth).reverse()) {
    const port = portOf(levels, module, "out", source);
    join(module, port, null);
    [tail, tailPort] = [module, port];
  }
  let level = depth ? source.lineage[depth - 1] : tree.root;
  for (const module of target.lineage.slice(depth)) {
    const port = portOf(levels, module, "in", source);
    join(level, module, port);
    [level, tail, tailPort] = [module, port, null];
  }
  join(level, target, null);
}

function portOf(levels, module, side, source) {
  const { ports } = levelOf(levels, module);
  const key = `${side} ${source.key}`;
  if (!ports.has(key)) ports.set(key, { key, kind: "port", side, width: 0, height: 0, x: 0, y: 0 });
  return ports.get(key);
}

function shownItems(module) {
  return module.items.filter((item) => !isFoldedAway(item));
}

/** Lays out a level after those inside it, and gives its module the size of the box. */
function arrange(levels, module, direction) {
  const items = shownItems(module);
  for (const item of items) {
    writeCard(item, direction);
    if (item.open) arrange(levels, item, direction);
  }
  const { arcs, ports } = levelOf(levels, module);
  const size = layOut([...items, ...ports.values()], [...arcs.values()]);
  const edge = module.parent ? CARD.inset : 0;
  module.top = module.parent ? CARD.header + edge / 2 : 0;
  module.height = module.top + size.height + edge;
  module.width = even(Math.max(size.width + 2 * edge, module.parent ? module.titleWidth : 0));
  module.left = Math.round((module.width - size.width) / 2);
  for (const port of ports.values()) port.x += module.left;
}

/** Moves what is in a level to its place in the whole, and collects it. */
function spread(levels, module, x, y, scene) {
  const [left, top] = [x + module.left, y + module.top];
  for (const arc of levelOf(levels, module).arcs.values()) {
    const points = arc.points.map(([across, down]) => [left + across, top + down]);
    if (arc.tail.kind === "port") points.unshift([points[0][0], y]);
    if (arc.head.kind === "port") points.push([points.at(-1)[0], y + module.height]);
    scene.arcs.push({ ...arc, id: `arc${scene.arcs.length}`, points, bounds: boundsOf(points) });
  }
  for (const item of shownItems(module)) {
    item.x += left;
    item.y += top;
    scene.items.push(item);
    if (item.open) spread(levels, item, item.x, item.y, scene);
  }
}

function boundsOf(points) {
  const [across, down] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [x, y] = [Math.min(...across), Math.min(...down)];
  return { x, y, width: Math.max(...across) - x, height: Math.max(...down) - y };
}
