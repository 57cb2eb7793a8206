// How large what stands on an item makes it.

const FONT = { strong: "600 13px system-ui, sans-serif", plain: "12px system-ui, sans-serif" };

const textWidth = (() => {
  const pen = document.createElement("canvas").getContext("2d");
  const known = new Map();
  return (text, font) => {
    const key = `${font}|${text}`;
    if (!known.has(key)) {
      pen.font = font;
      known.set(key, Math.ceil(pen.measureText(text).width));
    }
    return known.get(key);
  };
})();

/** Writes the lines below an item's title and its badge, and gives it its size. */
function writeCard(item, direction) {
  const { lines, back, title, tag, members, repeats, folds } = item;
  item.shownLines = direction === "forward" ? lines : [...lines, ...back];
  const badge = members ? `× ${repeats}` : folds ? `fold ${folds.repeats}` : "";
  item.badge = badge && { text: badge, width: textWidth(badge, FONT.strong) + 14 };
  const head = textWidth(title, FONT.strong) + (tag ? textWidth(tag, FONT.plain) + 8 : 0);
  item.titleWidth = head + 2 * CARD.padding + (badge ? item.badge.width + 8 : 0);
  const widths = item.shownLines.map((line) => textWidth(line, FONT.plain) + 2 * CARD.padding);
  item.width = 2 * Math.ceil(Math.max(item.titleWidth, ...widths) / 2); // so that middles are whole
  item.height = CARD.above + CARD.line * (1 + item.shownLines.length) + CARD.below;
}

/** An item in words, for those who hear the page. */
function spoken({ title, tag, kind, fused, members, repeats, shownLines }) {
  const words = [title, tag, fused ? "fused op" : kind, members ? `${repeats} times` : "", ...shownLines];
  return words.filter(Boolean).join(", ");
}
