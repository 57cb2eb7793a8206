// The graph as Python wrote it: levels of items, joined by arcs. Of equal blocks there are levels for both: the first that
// stands for all, and all of them; `things` has an item for each id, the first there is.

class GraphData {
  constructor({ definitions, layouts, root, ...rest }) {
    Object.assign(this, rest, { root, things: new Map(), known: new Set(), firstOf: new Map() });
    this.join(root, layouts, definitions);
  }

  /** Gives a level its layout, the ops in it their definitions, and so on for the levels in it. */
  join(level, layouts, definitions) {
    Object.assign(level, layouts[level.layout]);
    for (const item of level.items) {
      if (!this.things.has(item.id)) this.things.set(item.id, item);
      item.definition = definitions[item.definition];
      for (const [name, measure] of Object.entries(item.measures)) {
        measure[0] = Number(measure[0]); // what is not finite comes as text
        if (measure[0] !== 0 || name === "gradient") this.known.add(name);
      }
      if (item.level) this.join(item.level, layouts, definitions);
      if (!item.members) continue;
      this.join(item.members, layouts, definitions);
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
