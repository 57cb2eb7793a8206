// The state of the page, and what can be done with it: open, fold, choose, go to.

const READABLE = 0.65; // a first look is no smaller

class App {
  constructor(graph) {
    Object.assign(this, { graph, state: new State(graph), direction: graph.start.direction, measure: "kind" });
    Object.assign(this, { chosen: null, focusedId: null, found: [] });
    Object.assign(this, { canvas: $("canvas"), panel: $("facts"), drawing: new Drawing() });
    this.view = new View(this.canvas, () => this.follow());
  }

  /** The drawn item that has the focus, or in which what had it is now. */
  get focused() {
    return this.shown(this.focusedId);
  }

  /** The drawn item for an id. */
  shown(id) {
    return id && this.scene.shown.get(this.state.shownFor(id));
  }

  follow() {
    this.drawing.follow(this.view, this.focused);
    if (this.focused && document.activeElement === document.body) this.refocus(); // its element was drawn anew
  }

  /** Places what is open and draws it, from where `placed` says: the same place unless given. */
  rebuild(placed = () => ({})) {
    this.scene = buildScene(this.graph, this.state, this.direction);
    this.chosen = this.chosen && this.state.shownFor(this.chosen);
    Object.assign(this.view, placed());
    this.repaint();
  }

  repaint() {
    const { graph, measure, chosen, direction, scene } = this;
    const closed = scene.items.filter((item) => !item.open);
    const scale = measure === "kind" ? null : scaleOf(measure, closed, graph);
    const fill = scale ? scale.fill : () => null;
    this.drawing.show(scene, { fill, measured: Boolean(scale), chosen, hits: this.hits() });
    this.view.update();
    showLegend($("legend-body"), { graph, measure, scale, direction });
  }

  hits() {
    return new Set(this.found.map((id) => this.state.shownFor(id)));
  }

  /** Says, after a change, from where an item is still at its place on the screen. */
  holding(id) {
    const { x, y, scale } = this.view;
    const item = this.shown(id);
    const [middle, top] = [item.x + item.width / 2, item.y];
    return () => {
      const now = this.shown(id);
      return { x: x + (middle - now.x - now.width / 2) * scale, y: y + (top - now.y) * scale };
    };
  }

  readable() {
    return this.view.whole(this.scene, READABLE);
  }

  fit() {
    this.view.glide(this.view.whole(this.scene));
  }

  choose(id) {
    this.chosen = this.drawing.look.chosen = id;
    this.drawing.mark();
  }

  markFound(ids) {
    this.found = ids;
    this.drawing.look.hits = this.hits();
    this.drawing.mark();
  }

  /** Gives an item the focus, in view. */
  focus(id) {
    this.focusedId = id;
    this.view.seek(this.focused);
    this.refocus();
  }

  refocus() {
    this.drawing.shown.get(this.focused.id)?.element.focus({ preventScroll: true });
  }

  leave() {
    this.canvas.focus({ preventScroll: true });
  }

  /** Opens or closes a module, shows the facts of a node. */
  activate(id, { byPointer = false } = {}) {
    if (this.shown(id).kind !== "module") {
      this.openFacts(id, { byPointer });
      return;
    }
    const held = this.holding(id);
    if (!this.state.open.delete(id)) this.state.open.add(id);
    this.choose(id);
    this.rebuild(held);
    this.refreshFacts();
  }

  openFacts(id, { byPointer = false } = {}) {
    this.choose(id);
    showFacts(this.panel, this.shown(id), this);
    this.view.measure();
    this.view.seek(this.shown(id));
    if (!byPointer) this.panel.focus();
  }

  refreshFacts() {
    if (!this.panel.hidden && this.chosen) showFacts(this.panel, this.shown(this.chosen), this);
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

  toggleRun(id) {
    const first = this.graph.firstOf.get(id);
    const held = this.holding(first);
    if (!this.state.unfolded.delete(id)) this.state.unfolded.add(id);
    this.rebuild(held);
    this.refreshFacts();
  }

  setOpen(open) {
    this.state.setOpen(open);
    this.rebuild(() => this.readable());
  }

  setFolded(folded) {
    this.state.setFolded(folded);
    this.rebuild(() => this.readable());
  }

  /** Opens whatever is around an item and brings it into view. */
  goTo(id, { keepFocus = false } = {}) {
    this.state.reveal(id);
    this.chosen = id;
    this.rebuild();
    this.view.seek(this.shown(id), Math.max(this.view.scale, READABLE));
    this.refreshFacts();
    if (!keepFocus) this.panel.focus();
  }
}
