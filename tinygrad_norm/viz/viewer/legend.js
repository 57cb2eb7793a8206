// The legend: what the shapes and the lines mean, and the scale of the measure that fills them.

function showLegend(body, { measure, scale, direction }) {
  body.replaceChildren(...(measure === "kind" ? [] : [ramp(measure, scale)]), kinds(measure), lines(direction));
}

/** The scale as a bar with numbers at both ends and in the middle. */
function ramp(measure, scale) {
  const { label, title, write, logarithmic } = MEASURES[measure];
  const colours = [0, 0.25, 0.5, 0.75, 1].map(rampColour);
  const bar = make("div", { class: "ramp" });
  bar.style.backgroundImage = `linear-gradient(to right, ${colours.join(", ")})`;
  const marks = make("div", { class: "marks" }, ...scale.marks.map((value) => make("span", {}, write(value))));
  const kind = logarithmic ? ", logarithmic" : "";
  const broken = make("div", { class: "broken" }, "infinite, or no number");
  broken.hidden = !scale.broken;
  return make("div", { class: "scale", title }, make("strong", {}, `${label}${kind}`), bar, marks, broken);
}

function kinds(measure) {
  const kind = (name, text, ...more) => {
    const rect = draw("rect", {
      class: "face",
      x: 1,
      y: 1,
      width: 26,
      height: 14,
      rx: ["op", "module"].includes(name.split(" ")[0]) ? 3 : 7,
    });
    const picture = draw(
      "svg",
      { width: 28, height: 16, "aria-hidden": "true" },
      draw("g", { class: `card ${name}` }, rect, ...more),
    );
    return make("li", {}, picture, text);
  };
  const inner = draw("rect", { class: "inner", x: 3.5, y: 3.5, width: 21, height: 9, rx: 2 });
  const notch = draw("rect", { class: "saved", x: 0, y: 3, width: 5, height: 10, rx: 2 });
  const plain = measure === "kind" ? "" : " unmeasured";
  return make(
    "ul",
    {},
    kind(`module${plain}`, "module"),
    kind(`op${plain}`, "op"),
    kind(`op${plain}`, "fused op", inner),
    kind(`op${plain}`, "saves for the way back", notch),
    kind(`parameter${plain}`, "parameter"),
    kind(`input${plain}`, "input, output"),
    kind(`tensor${plain}`, "other tensor"),
  );
}

function lines(direction) {
  const sample = (name, marker, text) => {
    const path = draw("path", {
      class: `arc ${name}`,
      d: "M1 8L26 8",
      "stroke-width": 1.5,
      [`marker-${marker}`]: `url(#${marker === "end" ? "ahead" : "back"})`,
    });
    return make("li", {}, draw("svg", { width: 28, height: 16, "aria-hidden": "true" }, path), text);
  };
  const forward = direction === "backward" ? [] : [sample("forward", "end", "values; wider: more bytes")];
  const backward = direction === "forward" ? [] : [sample("backward", "start", "gradients")];
  return make("ul", {}, ...forward, ...backward);
}
