// Puts it together: reads the graph, and answers to the controls.

const READABLE = 0.75; // a first look is no smaller

function newApp(data) {
  const tree = readTree(data);
  findRuns(tree);
  const app = { tree, direction: "forward", measure: "kind", chosen: null, focused: null, hits: new Set(), found: [] };
  const [canvas, panel] = [$("canvas"), $("facts")];

  /** Lays out what is open and draws it, from where `placed` says: the same place unless given. */
  app.rebuild = (placed = () => ({})) => {
    app.scene = buildScene(tree, app.direction);
    app.scene.hasGradients = tree.nodes.some((item) => item.node.gradient !== null);
    if (app.chosen) app.chosen = shownFor(app.chosen);
    if (app.focused) app.focused = shownFor(app.focused);
    app.hits = new Set(app.found.map(shownFor));
    Object.assign(app.view, placed());
    app.repaint();
  };

  /** A place from which an item stays where it is on the screen. */
  app.holding = (item) => {
    const { x, y, scale } = app.view;
    const [across, down] = [item.x + item.width / 2, item.y];
    return () => {
      const now = shownFor(item);
      return { x: x + (across - now.x - now.width / 2) * scale, y: y + (down - now.y) * scale };
    };
  };
  app.readable = () => app.view.whole(app.scene, READABLE);

  app.repaint = () => {
    const drawn = app.scene.items.filter((item) => !item.open);
    const coloured = app.measure !== "kind";
    const scale = coloured ? scaleOf(app.measure, drawn) : null;
    const fillOf = coloured ? (item) => fillFor(app.measure, scale, item) : () => null;
    app.drawing.show(app.scene, { fill: fillOf, measured: coloured, chosen: app.chosen, hits: app.hits });
    app.view.update();
    showLegend($("legend-body"), { measure: app.measure, scale, direction: app.direction });
  };

  app.fit = () => app.view.glide(app.view.whole(app.scene));

  app.choose = (item) => {
    app.chosen = item;
    app.drawing.look.chosen = item;
    app.drawing.mark();
  };

  /** Gives an item the focus, in view. */
  app.focus = (item) => {
    app.focused = item;
    app.view.seek(item);
    app.refocus();
  };
  app.refocus = () => app.drawing.shown.get(app.focused?.id)?.element.focus({ preventScroll: true });

  app.leave = () => canvas.focus({ preventScroll: true });

  app.activate = (item, { byPointer = false } = {}) => {
    if (item.kind !== "module") return app.openFacts(item, { byPointer });
    item.open = !item.open;
    app.choose(item);
    app.rebuild(app.holding(item));
    if (!panel.hidden) showFacts(panel, item, app);
  };

  app.openFacts = (item, { byPointer = false } = {}) => {
    app.choose(item);
    showFacts(panel, item, app);
    app.view.measure();
    app.view.seek(item);
    if (!byPointer) panel.focus();
  };

  app.closeFacts = () => {
    const inside = panel.contains(document.activeElement);
    panel.hidden = true;
    app.view.measure();
    if (!inside) return;
    if (app.chosen) app.focus(app.chosen);
    else app.leave();
  };

  app.toggleRun = (run) => {
    run.folded = !run.folded;
    app.rebuild(app.holding(run.members[0]));
    if (!panel.hidden && app.chosen) showFacts(panel, app.chosen, app);
  };

  app.setOpen = (open) => {
    for (const module of tree.modules.values()) module.open = open && module !== tree.root;
    app.rebuild(app.readable);
  };

  app.setFolded = (folded) => {
    for (const { run } of tree.modules.values()) if (run) run.folded = folded;
    app.rebuild(app.readable);
  };

  /** Opens whatever is around an item and brings it into view. */
  app.goTo = (item, { keepFocus = false } = {}) => {
    reveal(item);
    app.chosen = item;
    app.rebuild();
    app.view.seek(item, Math.max(app.view.scale, 0.8));
    if (!panel.hidden) showFacts(panel, item, app);
    if (!keepFocus) panel.focus();
  };

  app.markHits = (items) => {
    app.found = items;
    app.hits = app.drawing.look.hits = new Set(items.map(shownFor));
    app.drawing.mark();
  };

  app.escape = () => {
    if (!panel.hidden) app.closeFacts();
    else if (app.focused) app.leave();
  };

  app.drawing = newDrawing();
  app.view = newView(canvas, () => {
    app.drawing.follow(app.view, app.focused);
    if (app.focused && !canvas.contains(document.activeElement) && document.activeElement === document.body) app.refocus();
  });
  return app;
}

/** The drawn item in which an item is, itself if it is drawn. */
function shownFor(item) {
  for (const module of [...item.lineage, item]) {
    if (isFoldedAway(module)) return module.run.members[0];
    if (module !== item && !module.open) return module;
  }
  return item;
}

function listenToPointer(app) {
  const canvas = $("canvas");
  canvas.addEventListener("click", (event) => {
    if (app.view.dragged) return;
    const fold = event.target.closest("[data-fold]");
    const card = event.target.closest("[data-id]");
    if (fold) app.toggleRun(app.tree.items.get(fold.dataset.fold).run);
    else if (card) app.activate(app.tree.items.get(card.dataset.id), { byPointer: true });
    else app.choose(null);
  });
  document.addEventListener("focusin", ({ target }) => {
    const card = canvas.contains(target) && target.closest("[data-id]");
    app.focused = card ? app.tree.items.get(card.dataset.id) : null;
  });
}

function listenToControls(app) {
  const buttons = {
    "open-all": () => app.setOpen(true),
    "close-all": () => app.setOpen(false),
    "zoom-in": () => app.view.zoom(ZOOM.step),
    "zoom-out": () => app.view.zoom(1 / ZOOM.step),
    fit: app.fit,
    help: () => $("keys").showModal(),
    theme: switchTheme,
  };
  for (const [id, action] of Object.entries(buttons)) $(id).addEventListener("click", action);
  $("fold").addEventListener("change", (event) => app.setFolded(event.target.checked));
  $("direction").addEventListener("change", (event) => {
    app.direction = event.target.value;
    app.rebuild();
  });
  $("colour").addEventListener("change", (event) => {
    app.measure = event.target.value;
    app.repaint();
  });
}

function offerMeasures(app) {
  for (const [name, { label, title, missing }] of Object.entries(MEASURES)) {
    const known = isKnown(app.tree, name);
    const radio = make("input", { type: "radio", name: "colour", value: name });
    radio.checked = name === "kind";
    radio.disabled = !known;
    $("colour").append(make("label", { title: known ? title : missing }, radio, make("span", {}, label)));
  }
}

function switchTheme() {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dark ? "light" : "dark";
}

function start() {
  const app = newApp(JSON.parse($("graph").textContent));
  const { title, nodes, modules } = app.tree;
  document.title = title;
  $("title").textContent = title;
  $("canvas").setAttribute("aria-label", `Graph of ${title}`);
  $("empty").hidden = nodes.length > 0;
  if (innerWidth < 700) $("legend").open = false;
  $("folding").hidden = modules.size < 2;
  offerMeasures(app);
  listenToControls(app);
  listenToPointer(app);
  listenToKeys(app);
  newSearch(app);
  app.rebuild(app.readable);
  new ResizeObserver(() => {
    app.view.measure();
    app.view.update();
  }).observe($("canvas"));
}

start();
