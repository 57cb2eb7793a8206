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
  return text.toLowerCase().replace(/(\d)\s*[×x,]\s*(?=\d)/g, "$1×").replace(/^\(|\)$/g, "");
}

function newSearch(app) {
  const [query, hits] = [$("query"), $("hits")];
  const search = { found: [], at: -1 };

  search.run = () => {
    Object.assign(search, { found: findItems(app.tree, query.value), at: -1 });
    const count = search.found.length;
    hits.textContent = query.value.trim() ? (count ? many(count, "hit") : "no hit") : "";
    app.markHits(search.found);
  };

  search.next = (step) => {
    const count = search.found.length;
    if (!count) return;
    search.at = search.at < 0 && step < 0 ? count - 1 : (search.at + step + count) % count;
    hits.textContent = `${search.at + 1} of ${count}`;
    app.goTo(search.found[search.at], { keepFocus: true });
  };

  query.addEventListener("input", search.run);
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter") search.next(event.shiftKey ? -1 : 1);
    if (event.key === "Escape" && query.value) {
      event.stopPropagation();
      query.value = "";
      search.run();
    }
  });
  return search;
}
