// The legend: what the shapes and the lines mean, and the scale of the measure that fills them.

function showLegend(body, { graph, measure, scale, direction }) {
  body.replaceChildren(...(scale ? [ramp(graph, measure, scale)] : []), kinds(graph, scale), lines(direction));
}

/** The scale as a bar with texts at both ends. */
function ramp(graph, measure, { marks, broken }) {
  const { label, title, logarithmic } = MEASURES[measure];
  const bar = make("div", { class: "ramp" });
  bar.style.backgroundImage = `linear-gradient(to right, ${graph.ramp.join(", ")})`;
  const texts = make("div", { class: "marks" }, ...marks.map((text) => make("span", {}, text)));
  const warning = make("div", { class: "broken" }, "infinite, or no number");
  warning.hidden = !broken;
  const heading = make("strong", {}, `${label}${logarithmic ? ", logarithmic" : ""}`);
  return make("div", { class: "scale", title }, heading, bar, texts, warning);
}

function kinds({ legend }, scale) {
  const kind = ([name, text]) => {
    const round = ["op", "fused", "module", "saved"].includes(name) ? 3 : 7;
    const face = { class: "face", x: 1, y: 1, width: 26, height: 14, rx: round };
    const parts = [
      draw("rect", name === "saved" ? { class: "saved", x: 11, y: 1, width: 6, height: 14, rx: 2 } : face),
    ];
    if (name === "fused") parts.push(draw("rect", { class: "inner", x: 3.5, y: 3.5, width: 21, height: 9, rx: 2 }));
    const card = draw("g", { class: `card ${name === "fused" ? "op" : name}${scale ? " unmeasured" : ""}` }, ...parts);
    return make("li", {}, sample(card), text);
  };
  return make("ul", {}, ...legend.map(kind));
}

function lines(direction) {
  const line = (name, marker, text) => {
    const shape = { class: `arc ${name}`, d: "M1 8L26 8", "stroke-width": 1.5, ...marker };
    return make("li", {}, sample(draw("path", shape)), text);
  };
  const forward = line("forward", { "marker-end": "url(#ahead)" }, "tensor; wider: more bytes");
  const backward = line("backward", { "marker-start": "url(#back)" }, "gradient");
  const shown = { forward: [forward], backward: [backward], both: [forward, backward] };
  return make("ul", {}, ...shown[direction]);
}

function sample(picture) {
  return draw("svg", { width: 28, height: 16, "aria-hidden": "true" }, picture);
}
