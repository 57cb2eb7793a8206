// The panel with the facts of one item.

function showFacts(panel, item, app) {
  const close = make(
    "button",
    { type: "button", class: "close", "aria-label": "Close the facts", title: "Close" },
    "×",
  );
  close.addEventListener("click", () => app.closeFacts());
  const facts = item.kind === "module" ? moduleFacts(item) : nodeFacts(item);
  const list = make("dl");
  for (const [term, value] of facts) {
    if (value !== "" && value !== null) list.append(make("dt", {}, term), make("dd", {}, ...[value].flat()));
  }
  panel.replaceChildren(close, make("h2", {}, item.path || item.node?.name || item.name), list);
  if (item.run) panel.append(foldButton(item, app));
  if (item.node)
    panel.append(
      ...neighbours("From", item.inputs, app),
      ...neighbours("To", item.outputs, app),
      ...formula(item.node),
    );
  panel.hidden = false;
  panel.scrollTop = 0;
}

function nodeFacts({ node, kind, parent }) {
  const settings = Object.entries(node.settings).map(([name, value]) =>
    make("div", {}, make("code", {}, `${name} = ${value}`)),
  );
  const saved = node.saved.map(([shape, dtype]) => make("div", {}, `${asShape(shape)} ${dtype}`));
  const kinds = {
    op: node.fused ? "Fused op" : "Op",
    parameter: "Parameter",
    input: "Input",
    tensor: "Tensor that no op made",
    output: "Output",
  };
  return [
    ["Kind", kinds[kind]],
    ["Module", [parent.path, parent.type].filter(Boolean).join(" · ")],
    ["Shape", `${asShape(node.shape)} ${node.dtype}, ${asBytes(node.bytes)}`],
    ["Settings", settings.length ? settings : null],
    ["Parameters", node.parameters ? node.parameters.toLocaleString("en") : null],
    ["FLOPs", node.flops ? asFlops(node.flops) : null],
    [
      "Saves",
      saved.length
        ? [...saved, make("div", { class: "dim" }, `${asBytes(node.saved_bytes)}; what several ops save counts once`)]
        : null,
    ],
    ...costs(node.seconds, node.backward_seconds, node.gradient),
  ];
}

function moduleFacts(module) {
  const { ops, parameters, flops, saved, forward, backward } = module.totals;
  return [
    ["Kind", ["Module", module.type].filter(Boolean).join(" · ")],
    ["Ops", ops.toLocaleString("en")],
    ["Parameters", parameters.toLocaleString("en")],
    ["FLOPs", flops ? asFlops(flops) : null],
    ["Saves", saved ? asBytes(saved) : null],
    ...costs(forward, backward, joinedNorm([...module.exits].map((item) => item.node.gradient))),
  ];
}

function costs(forward, backward, gradient) {
  return [
    ["Time forward", forward === null ? null : asSeconds(forward)],
    ["Time backward", backward === null ? null : asSeconds(backward)],
    ["Gradient norm", gradient === null ? null : asNorm(gradient)],
  ];
}

function foldButton({ run }, app) {
  const count = run.members.length;
  const button = make(
    "button",
    { type: "button" },
    run.folded ? `Unfold ${count} equal blocks` : `Fold ${count} equal blocks`,
  );
  button.addEventListener("click", () => app.toggleRun(run));
  return button;
}

function neighbours(title, items, app) {
  if (!items.length) return [];
  const rows = [...new Set(items)].slice(0, 50).map((item) => {
    const button = make(
      "button",
      { type: "button", class: "link" },
      [item.parent.path, item.name, asShape(item.node.shape)].filter(Boolean).join(" · "),
    );
    button.addEventListener("click", () => app.goTo(item));
    return make("li", {}, button);
  });
  if (items.length > rows.length) rows.push(make("li", { class: "dim" }, `of ${items.length}`));
  return [make("h3", {}, title), make("ul", {}, ...rows)];
}

function formula({ definition }) {
  if (!definition?.code) return [];
  const code = make("pre", { tabindex: "0", "aria-label": "Definition" }, make("code", {}, definition.code));
  return [make("h3", {}, "Definition"), code, make("p", { class: "dim" }, definition.source)];
}
