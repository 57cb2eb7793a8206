// Puts it together: reads the graph, and answers to the controls.

function listenToPointer(app) {
  const canvas = $("canvas");
  canvas.addEventListener("click", (event) => {
    if (app.view.dragged) return;
    const fold = event.target.closest("[data-fold]");
    const card = event.target.closest("[data-id]");
    if (fold) app.toggleRun(fold.dataset.fold);
    else if (card) app.activate(card.dataset.id, { byPointer: true });
    else app.choose(null);
  });
  document.addEventListener("focusin", ({ target }) => {
    const card = canvas.contains(target) && target.closest("[data-id]");
    app.focusedId = card ? card.dataset.id : null;
  });
}

function listenToControls(app) {
  const buttons = {
    "open-all": () => app.setOpen(true),
    "close-all": () => app.setOpen(false),
    "zoom-in": () => app.view.zoom(ZOOM.step),
    "zoom-out": () => app.view.zoom(1 / ZOOM.step),
    fit: () => app.fit(),
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
    const known = name === "kind" || app.graph.known.has(name);
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
  const app = new App(new GraphData(JSON.parse($("graph").textContent)));
  const { title, things, start: begin } = app.graph;
  const [heading, ...rest] = title.split("\n");
  document.title = heading;
  $("title").replaceChildren(heading, ...rest.map((line) => make("span", { class: "dim" }, line)));
  document.querySelector(`[name="direction"][value="${app.direction}"]`).checked = true;
  $("fold").checked = begin.fold;
  $("canvas").setAttribute("aria-label", `Graph of ${heading}`);
  $("empty").hidden = things.size > 0;
  if (innerWidth < 700) $("legend").open = false;
  $("folding").hidden = ![...things.values()].some(({ kind }) => kind === "module");
  offerMeasures(app);
  listenToControls(app);
  listenToPointer(app);
  listenToKeys(app);
  new Search(app);
  app.view.measure(); // the bar has its height only now
  app.rebuild(() => app.readable());
  new ResizeObserver(() => {
    app.view.measure();
    app.view.update();
  }).observe($("canvas"));
}

start();
