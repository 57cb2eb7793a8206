// The state of the page, and what can be done with it: open, fold, choose, go to.

const READABLE = 0.65; // a first look is no smaller

class App {
  constructor(data) {
    this.tree = readTree(data);
    findRuns(this.tree);
    Object.assign(this, { direction: data.start.direction, measure: "kind", chosen: null, focused: null, found: [] });
    Object.assign(this, { canvas: $("canvas"), panel: $("facts"), drawing: new Drawing() });
    this.view = new View(this.canvas, () => this.follow());
    this.begin(data.start);
  }

  /** Opens as many levels as asked for; unless that is all of them, layers, which have no modules in them, stay closed. */
  begin({ depth, fold }) {
    const { root, modules } = this.tree;
    for (const module of modules.values()) {
      const layer = !module.items.some(({ kind }) => kind === "module");
      module.open = module !== root && (depth === null || (!layer && module.inside.length < depth));
      if (module.run) module.run.folded = fold;
    }
  }

  follow() {
    this.drawing.follow(this.view, this.focused);
    if (this.focused && document.activeElement === document.body) this.refocus(); // its element was drawn anew
  }

  /** Lays out what is open and draws it, from where `placed` says: the same place unless given. */
  rebuild(placed = () => ({})) {
    this.scene = buildScene(this.tree, this.direction);
    if (this.chosen) this.chosen = shownFor(this.chosen);
    if (this.focused) this.focused = shownFor(this.focused);
    Object.assign(this.view, placed());
    this.repaint();
  }

  repaint() {
    const { measure, chosen, direction } = this;
    const measured = measure !== "kind";
    const scale = measured
      ? scaleOf(
          measure,
          this.scene.items.filter((item) => !item.open),
        )
      : null;
    const fill = measured ? (item) => fillFor(measure, scale, item) : () => null;
    this.drawing.show(this.scene, { fill, measured, chosen, hits: new Set(this.found.map(shownFor)) });
    this.view.update();
    showLegend($("legend-body"), { measure, scale, direction });
  }

  /** Says, after a change, from where an item is still at its place on the screen. */
  holding(item) {
    const { x, y, scale } = this.view;
    const [middle, top] = [item.x + item.width / 2, item.y];
    return () => {
      const now = shownFor(item);
      return { x: x + (middle - now.x - now.width / 2) * scale, y: y + (top - now.y) * scale };
    };
  }

  readable() {
    return this.view.whole(this.scene, READABLE);
  }

  fit() {
    this.view.glide(this.view.whole(this.scene));
  }

  choose(item) {
    this.chosen = this.drawing.look.chosen = item;
    this.drawing.mark();
  }

  markFound(items) {
    this.found = items;
    this.drawing.look.hits = new Set(items.map(shownFor));
    this.drawing.mark();
  }

  /** Gives an item the focus, in view. */
  focus(item) {
    this.focused = item;
    this.view.seek(item);
    this.refocus();
  }

  refocus() {
    this.drawing.shown.get(this.focused.id)?.element.focus({ preventScroll: true });
  }

  leave() {
    this.canvas.focus({ preventScroll: true });
  }

  /** Opens or closes a module, shows the facts of a node. */
  activate(item, { byPointer = false } = {}) {
    if (item.kind !== "module") {
      this.openFacts(item, { byPointer });
      return;
    }
    item.open = !item.open;
    this.choose(item);
    this.rebuild(this.holding(item));
    this.refreshFacts();
  }

  openFacts(item, { byPointer = false } = {}) {
    this.choose(item);
    showFacts(this.panel, item, this);
    this.view.measure();
    this.view.seek(item);
    if (!byPointer) this.panel.focus();
  }

  refreshFacts() {
    if (!this.panel.hidden && this.chosen) showFacts(this.panel, this.chosen, this);
  }

  closeFacts() {
    const inside = this.panel.contains(document.activeElement);
    this.panel.hidden = true;
    this.view.measure();
    if (!inside) return;
    if (this.chosen) this.focus(this.chosen);
    else this.leave();
  }

  /** Closes what is open on top, else leaves the item. */
  escape() {
    if (!this.panel.hidden) this.closeFacts();
    else if (this.focused) this.leave();
  }

  toggleRun(run) {
    run.folded = !run.folded;
    this.rebuild(this.holding(run.members[0]));
    this.refreshFacts();
  }

  setOpen(open) {
    for (const module of this.tree.modules.values()) module.open = open && module !== this.tree.root;
    this.rebuild(() => this.readable());
  }

  setFolded(folded) {
    for (const { run } of this.tree.modules.values()) if (run) run.folded = folded;
    this.rebuild(() => this.readable());
  }

  /** Opens whatever is around an item and brings it into view. */
  goTo(item, { keepFocus = false } = {}) {
    reveal(item);
    this.chosen = item;
    this.rebuild();
    this.view.seek(item, Math.max(this.view.scale, READABLE));
    this.refreshFacts();
    if (!keepFocus) this.panel.focus();
  }
}
