// The graph as Python wrote it: levels of items, joined by arcs. What is so of an item wherever it is drawn, as its kind,
// its names and its facts, stands once, under its id, in `things`; an item in a level tells what it says there.

class GraphData {
  constructor({ things, definitions, layouts, root, ...rest }) {
    Object.assign(this, rest, { things: new Map(Object.entries(things)), root, known: new Set(), firstOf: new Map() });
    for (const thing of this.things.values()) thing.definition = definitions[thing.definition];
    this.join(root, layouts);
  }

  /** Gives the items of a level, and of those in it, what is so of them everywhere. */
  join(level, layouts) {
    Object.assign(level, layouts[level.layout]);
    for (const item of level.items) {
      Object.setPrototypeOf(item, this.things.get(item.id));
      for (const [name, measure] of Object.entries(item.measures)) {
        measure[0] = Number(measure[0]); // what is not finite comes as text
        if (measure[0] !== 0 || name === "gradient") this.known.add(name);
      }
      if (item.level) this.join(item.level, layouts);
      if (!item.members) continue;
      this.join(item.members, layouts);
      item.members.items[0].folds = item;
      this.firstOf.set(item.id, item.members.items[0].id);
    }
  }
}

/** Which modules are open, and which runs of equal blocks are unfolded. */
class State {
  constructor({ things, start }) {
    Object.assign(this, { things, open: new Set(), unfolded: new Set() });
    for (const [id, thing] of things) if (thing.open) this.open.add(id);
    this.setFolded(start.fold);
  }

  setOpen(open) {
    this.open = new Set(open ? [...this.things.keys()] : []);
  }

  setFolded(folded) {
    this.unfolded = new Set(folded ? [] : [...this.things.values()].map(({ behind }) => behind));
  }

  /** An item and what is around it, the outermost first. */
  lineage(id) {
    return id ? [...this.lineage(this.things.get(id).parent), id] : [];
  }

  /** The id of the drawn item in which an item is, its own if it is drawn. */
  shownFor(id) {
    for (const around of this.lineage(id)) {
      const { behind, block } = this.things.get(around);
      if (behind && !this.unfolded.has(behind)) return behind;
      if (around !== id && !this.open.has(around) && !(block && this.unfolded.has(around))) return around;
    }
    return id;
  }

  /** Opens what is closed around an item, and unfolds what hides it. */
  reveal(id) {
    for (const around of this.lineage(id)) {
      this.unfolded.add(this.things.get(around).behind);
      if (around !== id) this.open.add(around);
    }
  }
}
