// Search: by the path of a module, the class of an op, the name of a parameter, or a shape.

/** The ids, in the order they ran, in whose names the text occurs; 64×32, 64x32 and (64, 32) are one shape. */
function findItems({ things }, text) {
  const query = plain(text);
  const names = ({ name, tag, shape }) => plain(`${name} ${tag} ${shape ?? ""}`);
  return query ? [...things].filter(([, thing]) => !thing.block && names(thing).includes(query)).map(([id]) => id) : [];
}

function plain(text) {
  return text
    .trim()
    .toLowerCase()
    .replace(/(\d)\s*[×x,]\s*(?=\d)/g, "$1×")
    .replace(/^\(|\)$/g, "");
}

class Search {
  constructor(app) {
    Object.assign(this, { app, query: $("query"), found: [], at: -1 });
    this.query.addEventListener("input", () => this.run());
    this.query.addEventListener("keydown", (event) => this.press(event));
  }

  run() {
    const text = this.query.value.trim();
    Object.assign(this, { found: findItems(this.app.graph, text), at: -1 });
    const { length } = this.found;
    $("hits").textContent = !text ? "" : length ? `${length} hit${length > 1 ? "s" : ""}` : "no hit";
    this.app.markFound(this.found);
  }

  /** To the next hit, or the one before; after the last comes the first. */
  step(way) {
    const count = this.found.length;
    if (!count) return;
    this.at = this.at < 0 && way < 0 ? count - 1 : (this.at + way + count) % count;
    $("hits").textContent = `${this.at + 1} of ${count}`;
    this.app.goTo(this.found[this.at], { keepFocus: true });
  }

  press(event) {
    if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
    if (event.key !== "Escape" || !this.query.value) return;
    event.stopPropagation();
    this.query.value = "";
    this.run();
  }
}
