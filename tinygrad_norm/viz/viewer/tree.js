// The graph as a tree. An item is a node (an op, or a tensor that no op made) or a module, which holds items in the
// order they ran. `first` is the place of a node in the graph, and of a module that of its first node.

function readTree(data) {
  const root = newModule("", data.title, "", null);
  const tree = { title: data.title, root, modules: new Map([["", root]]), nodes: [], edges: [], items: new Map() };
  const outputs = data.outputs.map((id, place) => outputNode(data, id, place));
  for (const node of [...data.nodes, ...outputs]) addNode(tree, data, node);
  const known = new Map(tree.nodes.map((item) => [item.node.id, item]));
  const wires = [...data.edges, ...outputs.map((node) => ({ source: node.made, target: node.id, place: 0 }))];
  for (const { source, target, place } of wires) {
    addEdge(tree, { source: known.get(source), target: known.get(target), place });
  }
  return tree;
}

function newModule(path, name, type, parent) {
  const totals = { ops: 0, parameters: 0, flops: 0, saved: 0, forward: null, backward: null };
  const module = { id: `module:${path}`, kind: "module", path, name, type, parent, items: [], open: false, totals };
  module.lineage = parent ? parent.inside : []; // the modules around it, the outermost first, without the root
  module.inside = parent ? [...parent.inside, module] : [];
  return Object.assign(module, { first: 0, inputs: [], outputs: [], exits: new Set(), run: null, place: 0, wires: [] });
}

function outputNode(data, id, place) {
  const { shape, dtype } = data.nodes.find((node) => node.id === id);
  const name = data.output_names[place];
  const nothing = { settings: {}, parameters: 0, flops: 0, saved: [], saved_bytes: 0, bytes: 0, definition: null };
  const unknown = { seconds: null, backward_seconds: null, gradient: null, fused: false };
  return { id: `output${place}`, kind: "output", name, module: "", shape, dtype, made: id, ...nothing, ...unknown };
}

function addNode(tree, data, node) {
  const parent = moduleAt(tree, data, node.module);
  const item = { id: `node:${node.id}`, kind: node.kind, name: node.name, node, parent, lineage: parent.inside };
  if (node.gradient !== null) node.gradient = Number(node.gradient); // "NaN" and "Infinity" come as text
  node.definition = data.definitions[node.definition] ?? null;
  if (node.name.startsWith(`${node.module}.`)) item.name = node.name.slice(node.module.length + 1);
  Object.assign(item, { first: tree.nodes.length, inputs: [], outputs: [] });
  parent.items.push(item);
  tree.nodes.push(item);
  register(tree, item);
  for (const { totals } of [tree.root, ...item.lineage]) {
    totals.ops += node.kind === "op" ? 1 : 0;
    totals.parameters += node.kind === "parameter" ? node.parameters : 0; // an op repeats those it takes
    totals.flops = totals.flops === null || node.flops === null ? null : totals.flops + node.flops; // null: not known
    totals.saved += node.saved_bytes;
    totals.forward = sumOfKnown(totals.forward, node.seconds);
    totals.backward = sumOfKnown(totals.backward, node.backward_seconds);
  }
}

function moduleAt(tree, data, path) {
  const known = tree.modules.get(path);
  if (known) return known;
  let module = tree.root;
  const parts = path.split(".");
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const prefix = parts.slice(0, depth).join(".");
    if (!tree.modules.has(prefix)) {
      const next = newModule(prefix, parts[depth - 1], data.modules[prefix] ?? "", module);
      next.first = tree.nodes.length;
      module.items.push(next);
      tree.modules.set(prefix, next);
      register(tree, next);
    }
    module = tree.modules.get(prefix);
  }
  return module;
}

function register(tree, item) {
  item.tree = tree;
  item.key = tree.items.size; // short, unlike the id
  tree.items.set(item.id, item);
}

function addEdge(tree, edge) {
  const { source, target } = edge;
  const depth = sharedDepth(source, target);
  tree.edges.push(edge);
  source.outputs.push(target);
  target.inputs.push(source);
  (depth ? source.lineage[depth - 1] : tree.root).wires.push(edge);
  for (const module of source.lineage.slice(depth)) module.exits.add(source);
}

/** How many modules have both items inside. */
function sharedDepth(one, other) {
  let depth = 0;
  while (depth < one.lineage.length && one.lineage[depth] === other.lineage[depth]) depth += 1;
  return depth;
}

function sumOfKnown(one, other) {
  return other === null ? one : (one ?? 0) + other;
}

/** The Euclidean norm of several arrays, from the norm of each; null where none is known. */
function joinedNorm(norms) {
  const known = norms.filter((norm) => norm !== null);
  return known.length ? Math.hypot(...known) : null;
}
