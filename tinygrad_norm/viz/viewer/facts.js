// The panel with the facts of one item.

function showFacts(panel, item, app) {
  const button = (text, action, attributes = {}) => {
    const made = make("button", { type: "button", ...attributes }, text);
    made.addEventListener("click", action);
    return made;
  };
  const close = button("×", () => app.closeFacts(), {
    class: "close",
    "aria-label": "Close the facts",
    title: "Close",
  });
  const list = make("dl");
  for (const [term, value] of Object.entries(item.facts)) {
    const lines = [value].flat().map((line) => make("div", {}, line));
    list.append(make("dt", {}, term), make("dd", {}, ...lines));
  }
  panel.replaceChildren(close, make("h2", {}, item.name), list);
  const run = item.members ? item : item.folds;
  if (run)
    panel.append(
      button(`${item.members ? "Unfold" : "Fold"} ${run.repeats} equal blocks`, () => app.toggleRun(run.id)),
    );
  for (const [title, ids] of [
    ["From", item.from ?? []],
    ["To", item.to ?? []],
  ]) {
    const known = [...new Set(ids)].filter((id) => app.graph.things.has(id));
    const rows = known.slice(0, 50).map((id) =>
      make(
        "li",
        {},
        button(labelOf(app, id), () => app.goTo(id), { class: "link" }),
      ),
    );
    if (known.length > rows.length) rows.push(make("li", { class: "dim" }, `of ${known.length}`));
    if (rows.length) panel.append(make("h3", {}, title), make("ul", {}, ...rows));
  }
  if (item.definition) {
    const [text, source] = item.definition;
    const code = make("pre", { tabindex: "0", "aria-label": "Definition" }, make("code", {}, text));
    panel.append(make("h3", {}, "Definition"), code, make("p", { class: "dim" }, source));
  }
  panel.hidden = false;
  panel.scrollTop = 0;
}

function labelOf(app, id) {
  const { parent, title, shape } = app.graph.things.get(id);
  return [app.graph.things.get(parent)?.name, title, shape].filter(Boolean).join(" · ");
}
