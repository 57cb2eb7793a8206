// Folding: neighbouring modules that are equal but for their place are drawn once, with their number.
// Of a folded run only the first member is drawn, and each node of the others has its counterpart there.

function findRuns(tree) {
  const signatures = signAll(tree);
  for (const module of tree.modules.values()) {
    let run = [];
    for (const item of [...module.items, null]) {
      if (item && run.length && signatures.get(item) === signatures.get(run[0])) run.push(item);
      else {
        if (run.length > 1) joinRun(run);
        run = item?.kind === "module" ? [item] : [];
      }
    }
  }
}

function joinRun(members) {
  const run = { members, folded: true };
  members.forEach((member, place) => Object.assign(member, { run, place }));
}

/** A number for each item; two modules have the same one if they differ by nothing but name and place. */
function signAll(tree) {
  const numbers = new Map();
  const signatures = new Map();
  const sign = (item, ...parts) => {
    const text = JSON.stringify(parts);
    if (!numbers.has(text)) numbers.set(text, numbers.size);
    signatures.set(item, numbers.get(text));
  };
  for (const item of tree.nodes) {
    const { kind, shape, dtype, settings, parameters, flops, fused, differentiable } = item.node;
    sign(item, kind, item.name, shape, dtype, settings, parameters, flops, fused, differentiable);
  }
  for (const module of [...tree.modules.values()].reverse()) {
    // the inner ones first
    const items = module.items.map((item) => [item.name, signatures.get(item), item.first - module.first]);
    const wires = module.wires.map(({ source, target, place }) => [
      source.first - module.first,
      target.first - module.first,
      place,
    ]);
    sign(module, module.type, items, wires);
  }
  return signatures;
}

function isFoldedAway(item) {
  return item.place > 0 && item.run.folded;
}

/** The node at the same place in the first member of the run that `module`, which holds the node, belongs to. */
function counterpart(tree, node, module) {
  return tree.nodes[node.first - module.first + module.run.members[0].first];
}

/** A node of a drawn item, and its counterparts wherever that item is folded away. */
function copiesOf(node, item) {
  let copies = [node];
  for (const module of [...item.lineage, item]) {
    if (!module.run?.folded) continue;
    const steps = module.run.members.map((member) => member.first - module.first);
    copies = copies.flatMap(({ first }) => steps.map((step) => item.tree.nodes[first + step]));
  }
  return copies;
}

/** The item that is drawn for a node: its counterpart if it is folded away, the outermost closed module around it. */
function drawnFor(tree, node) {
  for (let depth = 0; depth < node.lineage.length; depth += 1) {
    if (isFoldedAway(node.lineage[depth])) node = counterpart(tree, node, node.lineage[depth]);
    if (!node.lineage[depth].open) return node.lineage[depth];
  }
  return node;
}

/** The drawn ends of an edge, or null if there is nothing between them to draw. */
function drawnEnds(tree, { source, target }) {
  let depth = 0;
  for (; depth < source.lineage.length && source.lineage[depth] === target.lineage[depth]; depth += 1) {
    const module = source.lineage[depth];
    if (isFoldedAway(module)) [source, target] = [source, target].map((node) => counterpart(tree, node, module));
    if (!source.lineage[depth].open) return null;
  }
  const run = source.lineage[depth]?.run;
  if (run?.folded && run === target.lineage[depth]?.run) return null; // from one folded block to the next
  const ends = [drawnFor(tree, source), drawnFor(tree, target)];
  return ends[0] === ends[1] ? null : ends;
}

/** The drawn item in which an item is, itself if it is drawn. */
function shownFor(item) {
  for (const module of [...item.lineage, item]) {
    if (isFoldedAway(module)) return module.run.members[0];
    if (module !== item && !module.open) return module;
  }
  return item;
}

/** Opens what is closed around an item, and unfolds what hides it. */
function reveal(item) {
  for (const module of item.lineage) {
    module.open = true;
    if (isFoldedAway(module)) module.run.folded = false;
  }
  if (isFoldedAway(item)) item.run.folded = false;
}
