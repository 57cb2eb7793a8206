// Where the reader looks: moves and zooms the canvas, by pointer, wheel, two fingers, or step by step.

const ZOOM = { least: 0.05, most: 3, step: 1.3 };
const MARGIN = 28;

class View {
  /** `changed` is called whenever the view moved, at most once a frame. */
  constructor(canvas, changed) {
    Object.assign(this, { canvas, changed, x: 0, y: 0, scale: 1, dragged: false });
    this.measure();
    new Fingers(this);
  }

  measure() {
    Object.assign(this, { width: this.canvas.clientWidth, height: this.canvas.clientHeight });
  }

  update() {
    $("world").setAttribute("transform", `translate(${this.x} ${this.y}) scale(${this.scale})`);
    this.changed();
  }

  updateSoon() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.update());
  }

  /** What is in view, in the scene's coordinates, with a margin in parts of its size. */
  region(margin) {
    const [width, height] = [this.width / this.scale, this.height / this.scale];
    const [x, y] = [-this.x / this.scale - margin * width, -this.y / this.scale - margin * height];
    return { x, y, width: width * (1 + 2 * margin), height: height * (1 + 2 * margin) };
  }

  move(across, down) {
    Object.assign(this, { x: this.x + across, y: this.y + down });
    this.updateSoon();
  }

  /** Zooms about a point of the canvas, its middle unless given. */
  zoom(factor, [x, y] = [this.width / 2, this.height / 2]) {
    const scale = Math.min(Math.max(this.scale * factor, ZOOM.least), ZOOM.most);
    const growth = scale / this.scale;
    Object.assign(this, { x: x - (x - this.x) * growth, y: y - (y - this.y) * growth, scale });
    this.updateSoon();
  }

  /** Goes there in a fifth of a second, or at once for those who want no motion. */
  glide(goal) {
    const start = { x: this.x, y: this.y, scale: this.scale };
    const began = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = () => {
      const part = still ? 1 : Math.min((performance.now() - began) / 200, 1);
      const eased = 1 - (1 - part) ** 3;
      for (const name of ["x", "y", "scale"]) this[name] = start[name] + (goal[name] - start[name]) * eased;
      this.update();
      if (part < 1) this.frame = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.frame);
    step();
  }

  /** Where a scene is seen whole; or, from its top, at the scale `least` or that which shows all its width. */
  whole(scene, least = ZOOM.least) {
    const across = (this.width - 2 * MARGIN) / scene.width;
    const down = (this.height - 2 * MARGIN) / scene.height;
    const scale = Math.max(Math.min(across, down, 1), Math.min(least, Math.max(across, NEAR)));
    const [x, y] = [(this.width - scene.width * scale) / 2, (this.height - scene.height * scale) / 2];
    return { x, y: Math.max(y, MARGIN), scale };
  }

  /** Brings an item into view, and no further than it must; at another scale, to the middle. */
  seek(item, scale = this.scale) {
    const within = (start, length, room, now) => {
      if (length > room - 2 * MARGIN) return MARGIN - start;
      return Math.min(Math.max(now, MARGIN - start), room - MARGIN - length - start);
    };
    const [left, top, width] = [item.x, item.y, item.width].map((length) => length * scale);
    const height = (item.open ? CARD.header : item.height) * scale;
    const stays = scale === this.scale;
    const x = within(left, width, this.width, stays ? this.x : (this.width - width) / 2 - left);
    const y = within(top, height, this.height, stays ? this.y : (this.height - height) / 2 - top);
    this.glide({ x, y, scale });
  }
}

/** Turns what the pointers and the wheel do into moves of a view. */
class Fingers {
  constructor(view) {
    Object.assign(this, { view, down: new Map(), start: [0, 0] });
    const actions = { pointerdown: this.press, pointermove: this.drag, pointerup: this.lift, pointercancel: this.lift };
    for (const [name, action] of Object.entries(actions)) view.canvas.addEventListener(name, action.bind(this));
    view.canvas.addEventListener("wheel", this.turn.bind(this), { passive: false });
  }

  at(event) {
    const { left, top } = this.view.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  press(event) {
    this.down.set(event.pointerId, this.at(event));
    if (this.down.size > 1) return;
    this.start = this.at(event);
    this.view.dragged = false;
  }

  drag(event) {
    const { view, down, start } = this;
    if (!down.has(event.pointerId)) return;
    const [before, now] = [down.get(event.pointerId), this.at(event)];
    if (!view.dragged && Math.hypot(now[0] - start[0], now[1] - start[1]) < 4) return; // still a click
    if (!view.dragged) view.canvas.setPointerCapture(event.pointerId);
    view.dragged = true;
    const wide = this.spread();
    down.set(event.pointerId, now);
    if (down.size === 1) view.move(now[0] - before[0], now[1] - before[1]);
    else view.zoom(this.spread().width / wide.width, this.spread().middle);
  }

  lift(event) {
    this.down.delete(event.pointerId);
  }

  /** How far apart two fingers are, and what is between them. */
  spread() {
    const [[x, y], [across, down]] = [...this.down.values(), ...this.down.values()];
    return { width: Math.hypot(across - x, down - y) || 1, middle: [(x + across) / 2, (y + down) / 2] };
  }

  turn(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    const distance = Math.min(Math.max(event.deltaY * lines, -200), 200);
    this.view.zoom(Math.exp(-distance / (event.ctrlKey ? 100 : 400)), this.at(event));
  }
}
