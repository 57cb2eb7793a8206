// The picture. Only what is in view, or near it, has elements; from afar they are plain, without words.

const NEAR = 0.35; // the scale from which words can be read

class Drawing {
  constructor() {
    this.layers = { boxes: $("boxes"), lines: $("lines"), cards: $("cards") };
    this.shown = new Map();
  }

  /** Draws a scene anew; `look` says what fills the items and which of them are marked. */
  show(scene, look) {
    Object.assign(this, { scene, look, region: null });
    for (const layer of Object.values(this.layers)) layer.replaceChildren();
    this.shown.clear();
  }

  /** Brings the elements up to date with what is in view. */
  follow(view, focused) {
    const near = view.scale >= NEAR;
    const named = near ? [] : this.scene.items.filter((item) => isNamed(item, view, this.scene));
    $("names").replaceChildren(...named.map((item) => drawName(item, view, this.scene)));
    if (this.region && near === this.near && holds(this.region, view.region(0))) return;
    if (near !== this.near) this.show(this.scene, this.look);
    Object.assign(this, { near, region: view.region(0.5) });
    $("world").classList.toggle("far", !near);
    this.replace(this.wanted(focused));
    this.mark();
  }

  /** What is to be drawn, by id: in which layer, by which function, and the item or the arc itself. */
  wanted(focused) {
    const wanted = new Map();
    for (const item of this.scene.items) {
      if (!meet(this.region, item) && item !== focused) continue;
      if (item.open) wanted.set(`box ${item.id}`, ["boxes", drawBox, item]);
      wanted.set(item.id, ["cards", this.near ? drawCard : drawSpot, item]);
    }
    for (const arc of this.scene.arcs) {
      if (meet(this.region, arc.bounds)) wanted.set(arc.id, ["lines", drawArc, arc]);
    }
    return wanted;
  }

  replace(wanted) {
    for (const [id, { element }] of this.shown) {
      if (wanted.has(id)) continue;
      element.remove();
      this.shown.delete(id);
    }
    for (const [id, [layer, drawOne, thing]] of wanted) {
      if (this.shown.has(id)) continue;
      const element = drawOne(thing, this);
      this.shown.set(id, { element, thing });
      this.layers[layer].append(element);
    }
  }

  /** Shows what is chosen, and what was found. */
  mark() {
    const { chosen, hits } = this.look;
    for (const { element, thing } of this.shown.values()) {
      const ends = thing.sources?.has(chosen) || thing.targets?.has(chosen);
      element.classList.toggle("chosen", Boolean(ends) || (thing.id === chosen && chosen !== null));
      element.classList.toggle("hit", hits.has(thing.id));
    }
  }
}

function meet(one, other) {
  return (
    one.x <= other.x + other.width &&
    other.x <= one.x + one.width &&
    one.y <= other.y + other.height &&
    other.y <= one.y + one.height
  );
}

function holds(outer, inner) {
  return (
    outer.x <= inner.x &&
    outer.y <= inner.y &&
    outer.x + outer.width >= inner.x + inner.width &&
    outer.y + outer.height >= inner.y + inner.height
  );
}

function drawBox({ x, y, width, height, id }, { scene }) {
  const odd = scene.state.lineage(id).length % 2;
  return draw("rect", { class: odd ? "box" : "box odd", x, y, width, height, rx: 10 });
}

function drawArc(arc, { scene: { direction }, near }) {
  const dead = arc.dead && direction !== "forward";
  const path = draw("path", { class: `arc ${direction}${dead ? " dead" : ""}`, d: arc.d, "stroke-width": arc.wide });
  if (near && arc.stops && direction !== "backward") path.setAttribute("marker-end", "url(#ahead)");
  if (near && arc.starts && direction !== "forward" && !dead) path.setAttribute("marker-start", "url(#back)");
  return path;
}

/** From afar the outermost modules have names at their left, and those in them, but for small ones, at the right. */
function isNamed({ kind, id, width, height }, { scale }, { state, shown }) {
  if (kind !== "module" || height * scale <= 18) return false;
  const [outer, ...inner] = state.lineage(id).filter((around) => shown.has(around));
  return !inner.length || (inner.length === 1 && width > shown.get(outer).width / 2);
}

function drawName({ y, height, name, id, ...own }, { scale }, { state, shown }) {
  const [outer, ...inner] = state.lineage(id).filter((around) => shown.has(around));
  const { x, width } = inner.length ? shown.get(outer) : own;
  const [at, anchor] = inner.length ? [x + width + 10 / scale, "start"] : [x - 10 / scale, "end"];
  const place = { x: at, y: y + Math.min(height / 2, 100 / scale) + 4 / scale, "text-anchor": anchor };
  return draw("text", { class: "name", ...place, "font-size": 12 / scale }, name);
}

function drawSpot(item, { look }) {
  return dressed(frame(item), item, look, outline(item, item.open ? "head" : "face"));
}

function drawCard(item, { look }) {
  if (item.open) return dressed(frame(item), item, look, outline(item, "head"), words(item), ...badge(item));
  const parts = [outline(item, "face")];
  if (item.members) parts.unshift(outline(item, "behind", -5));
  if (item.fused) parts.push(outline(item, "inner", 3));
  if (item.saves) parts.push(savedMark(item));
  return dressed(frame(item), item, look, ...parts, words(item), ...badge(item));
}

function frame(item) {
  return draw("g", {
    class: `card ${item.kind}${item.fused ? " fused" : ""}${item.open ? " open" : ""}`,
    transform: `translate(${item.x} ${item.y})`,
    "data-id": item.id,
    role: "button",
    tabindex: -1,
    "aria-label": spoken(item),
    "aria-expanded": item.kind === "module" ? String(item.open) : null,
  });
}

function outline(item, name, inset = 0) {
  const height = item.open ? CARD.header : item.height;
  const round = { op: 4, module: 8 }[item.kind] ?? height / 2;
  const place =
    inset < 0
      ? { x: -inset, y: -inset, width: item.width, height }
      : { x: inset, y: inset, width: item.width - 2 * inset, height: height - 2 * inset };
  return draw("rect", { class: name, ...place, rx: Math.max(round - Math.abs(inset) / 2, 2) });
}

/** A notch at the left: the op keeps arrays for the way back. */
function savedMark({ height }) {
  return draw("rect", { class: "saved", x: -3, y: height / 2 - 9, width: 6, height: 18, rx: 2 });
}

function words(item) {
  const text = draw("text", { class: "words" });
  const [start, anchor] = item.kind === "module" ? [CARD.padding, "start"] : [item.width / 2, "middle"];
  const line = (place, ...spans) =>
    text.append(draw("tspan", { x: start, y: CARD.above + 13 + CARD.line * place }, ...spans));
  text.setAttribute("text-anchor", anchor);
  line(
    0,
    draw("tspan", { class: "title" }, item.title),
    ...(item.tag ? [draw("tspan", { class: "tag", dx: 8 }, item.tag)] : []),
  );
  if (!item.open) item.shownLines.forEach((below, place) => line(place + 1, below));
  return text;
}

/** × n on a folded run; on an unfolded one, a way to fold it again. */
function badge(item) {
  if (!item.badge) return [];
  const { text, width } = item.badge;
  const title = item.members ? `${item.repeats} equal blocks: unfold them` : "Fold equal blocks";
  return [
    draw(
      "g",
      { class: "badge", "data-fold": (item.folds ?? item).id, transform: `translate(${item.width - width - 8} 6)` },
      draw("title", {}, title),
      draw("rect", { width, height: 18, rx: 9 }),
      draw("text", { x: width / 2, y: 13, "text-anchor": "middle" }, text),
    ),
  ];
}

function dressed(group, item, look, ...parts) {
  group.append(...parts);
  const filled = item.open ? null : look.fill(item);
  if (filled) {
    group.classList.add("measured", filled.dark ? "on-dark" : "on-light");
    for (const face of group.querySelectorAll(".face, .behind")) face.style.fill = filled.fill;
  } else if (look.measured && !item.open) group.classList.add("unmeasured");
  return group;
}
