// Where the reader looks: moves and zooms the canvas, by pointer, wheel, two fingers, or step by step.

const ZOOM = { least: 0.05, most: 3, step: 1.3 };

function newView(canvas, changed) {
  const view = { x: 0, y: 0, scale: 1, width: 0, height: 0, dragged: false };
  let waiting = false;
  let gliding = 0;

  view.measure = () => Object.assign(view, { width: canvas.clientWidth, height: canvas.clientHeight });
  view.measure();
  const later = () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; view.update(); });
    waiting = true;
  };

  view.update = () => {
    $("world").setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
    changed();
  };

  /** What is in view, in the scene's coordinates, with a margin in parts of its size. */
  view.region = (margin) => {
    const { width, height } = view;
    const [across, down] = [width / view.scale, height / view.scale];
    const [x, y] = [-view.x / view.scale - margin * across, -view.y / view.scale - margin * down];
    return { x, y, width: across * (1 + 2 * margin), height: down * (1 + 2 * margin) };
  };

  view.move = (across, down) => {
    cancelAnimationFrame(gliding);
    Object.assign(view, { x: view.x + across, y: view.y + down });
    later();
  };

  /** Zooms about a point of the canvas, its middle unless given. */
  view.zoom = (factor, at = null) => {
    cancelAnimationFrame(gliding);
    const { width, height } = view;
    const [x, y] = at ?? [width / 2, height / 2];
    const scale = Math.min(Math.max(view.scale * factor, ZOOM.least), ZOOM.most);
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    later();
  };

  /** Goes there in a fifth of a second, or at once for those who want no motion. */
  view.glide = (goal) => {
    cancelAnimationFrame(gliding);
    const start = { x: view.x, y: view.y, scale: view.scale };
    const began = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = () => {
      const part = still ? 1 : Math.min((performance.now() - began) / 200, 1);
      const eased = 1 - (1 - part) ** 3;
      for (const name of ["x", "y", "scale"]) view[name] = start[name] + (goal[name] - start[name]) * eased;
      view.update();
      if (part < 1) gliding = requestAnimationFrame(step);
    };
    step();
  };

  /** The place from which a scene is seen whole; at `least`, or where all its width is seen, its top if it is too tall. */
  view.whole = (scene, least = ZOOM.least) => {
    const { width, height } = view;
    const margin = 28;
    const [across, down] = [(width - 2 * margin) / scene.width, (height - 2 * margin) / scene.height];
    const scale = Math.max(Math.min(across, down, 1), Math.min(least, Math.max(across, NEAR)));
    const x = (width - scene.width * scale) / 2;
    return { x, y: Math.max((height - scene.height * scale) / 2, margin), scale };
  };

  /** Brings an item into view, and no further than it must. */
  view.seek = (item, scale = view.scale) => {
    const { width, height } = view;
    const margin = 40;
    const into = (start, length, room, now) => {
      if (length > room - 2 * margin) return margin - start;
      return Math.min(Math.max(now, margin - start), room - margin - length - start);
    };
    const [x, y] = scale === view.scale ? [view.x, view.y] : [width / 2 - (item.x + item.width / 2) * scale, height / 2 - item.y * scale];
    const tall = item.open ? CARD.header : item.height;
    view.glide({ x: into(item.x * scale, item.width * scale, width, x), y: into(item.y * scale, tall * scale, height, y), scale });
  };

  listen(canvas, view);
  return view;
}

function listen(canvas, view) {
  const fingers = new Map();
  const here = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const spread = () => {
    const [[x, y], [across, down]] = [...fingers.values()];
    return { width: Math.hypot(across - x, down - y) || 1, middle: [(x + across) / 2, (y + down) / 2] };
  };
  let start = [0, 0];

  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, here(event));
    if (fingers.size === 1) {
      start = here(event);
      view.dragged = false;
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const [before, now] = [fingers.get(event.pointerId), here(event)];
    if (!view.dragged && Math.hypot(now[0] - start[0], now[1] - start[1]) < 4) return;
    if (!view.dragged) canvas.setPointerCapture(event.pointerId);
    view.dragged = true;
    const wide = fingers.size === 2 ? spread() : null;
    fingers.set(event.pointerId, now);
    if (!wide) view.move(now[0] - before[0], now[1] - before[1]);
    else view.zoom(spread().width / wide.width, spread().middle);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    const distance = Math.min(Math.max(event.deltaY * lines, -200), 200);
    view.zoom(Math.exp(-distance / (event.ctrlKey ? 100 : 400)), here(event));
  }, { passive: false });
}
