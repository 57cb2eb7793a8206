// Keys. The canvas is one stop for Tab; inside, Tab goes from item to item as they ran, arrows to neighbours.

const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

function listenToKeys(app) {
  const canvas = $("canvas");
  document.addEventListener("keydown", (event) => {
    if ($("keys").open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") app.escape();
    else if (event.target.matches("input[type=search]")) return;
    else if (event.key === "/") $("query").select();
    else if (event.key === "?") $("keys").showModal();
    else if (event.key === "+" || event.key === "=") app.view.zoom(ZOOM.step);
    else if (event.key === "-") app.view.zoom(1 / ZOOM.step);
    else if (event.key === "0") app.fit();
    else if (canvas.contains(event.target) && onCanvas(app, event)) {
      /* done there */
    } else return;
    event.preventDefault();
  });
}

/** Whether the key meant something here. */
function onCanvas(app, event) {
  const { focused } = app;
  if (event.key in ARROWS) {
    const [across, down] = ARROWS[event.key];
    if (focused) app.focus(neighbour(app.scene, focused, across, down).id);
    else app.view.move(-60 * across, -60 * down);
    return true;
  }
  if (event.key === "Tab") return step(app, event.shiftKey ? -1 : 1);
  if (!focused) return false;
  if (event.key === "Enter" || event.key === " ") app.activate(focused.id);
  else if (event.key === "i") app.openFacts(focused.id);
  else if (event.key === "u" && (focused.members || focused.folds)) app.toggleRun((focused.folds ?? focused).id);
  else return false;
  return true;
}

/** To the next item in order; past the last one, Tab goes on as everywhere. */
function step(app, way) {
  const { items } = app.scene;
  const place = app.focused ? items.indexOf(app.focused) : -1;
  if (place < 0 && way < 0) return false;
  const next = items[place + way];
  if (next) app.focus(next.id);
  else if (way < 0) app.leave();
  return next !== undefined || way < 0;
}

/** Up and down along the lines, else the nearest item that lies that way; the item itself if none does. */
function neighbour(scene, item, across, down) {
  const ids = scene.arcs.flatMap(({ sources, targets }) => {
    if (down > 0 && sources.has(item.id)) return [...targets];
    return down < 0 && targets.has(item.id) ? [...sources] : [];
  });
  const linked = [...new Set(ids)].map((id) => scene.shown.get(id)).filter(Boolean);
  const [x, y] = middleOf(item);
  let [best, least] = [item, Infinity];
  for (const other of linked.length ? linked : scene.items) {
    const [right, below] = middleOf(other).map((value, axis) => value - [x, y][axis]);
    const [along, aside] = across ? [right * across, below] : [below * down, right];
    const distance = Math.abs(along) + 2 * Math.abs(aside);
    if (other !== item && (linked.length || along > 1) && distance < least) [best, least] = [other, distance];
  }
  return best;
}

function middleOf(item) {
  return [item.x + item.width / 2, item.y + (item.open ? CARD.header : item.height) / 2];
}
