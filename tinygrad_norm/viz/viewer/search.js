// Search: by the path of a module, the class of an op, the name of a parameter, or a shape.

/** The items, in the order they ran, in which the text occurs; 64×32, 64x32 and (64, 32) are one shape. */
function findItems(tree, text) {
  const query = plain(text.trim());
  if (!query) return [];
  const found = [];
  const walk = [...tree.root.items].reverse();
  while (walk.length) {
    const item = walk.pop();
    item.haystack ??= plain(haystack(item));
    if (item.haystack.includes(query)) found.push(item);
    for (let place = (item.items?.length ?? 0) - 1; place >= 0; place -= 1) walk.push(item.items[place]);
  }
  return found;
}

function haystack(item) {
  if (item.kind === "module") return `${item.path} ${item.type}`;
  return `${item.node.name} (${item.node.shape.join("×")})`;
}

function plain(text) {
  return text
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
    Object.assign(this, { found: findItems(this.app.tree, text), at: -1 });
    $("hits").textContent = !text ? "" : this.found.length ? many(this.found.length, "hit") : "no hit";
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
