// From rows of cells to coordinates: lines as straight as the order allows, then the points of each line.

const GAP = { cell: 26, line: 14, row: 30, port: 10, widest: 90 };

function placeRows(rows, chains, wires) {
  for (const row of rows) {
    let right = 0;
    for (const [place, cell] of row.entries()) {
      cell.x = place ? right + gapBefore(row, place) + cell.width / 2 : cell.width / 2;
      right = cell.x + cell.width / 2;
    }
    for (const cell of row) cell.x -= right / 2;
  }
  for (const side of ["above", "below", "above", "below", "above", "below", "above"]) {
    for (const row of side === "below" ? [...rows].reverse() : rows) settle(row, side);
  }
  for (const chain of chains) straighten(rows, chain);
  const height = stack(rows);
  return { width: shift(rows, wires), height };
}

function gapBefore(row, place) {
  return row[place].item && row[place - 1].item ? GAP.cell : GAP.line;
}

/** Moves the cells of a row towards their neighbours above or below, as far as their order and their widths allow. */
function settle(row, side) {
  const blocks = []; // neighbours that touch and move as one: `sum` of weight × wish, less their distance to the first
  let offset = 0;
  for (const [place, cell] of row.entries()) {
    if (place) offset += (row[place - 1].width + cell.width) / 2 + gapBefore(row, place);
    const links = cell[side];
    const wish = links.length ? middle(links) : cell.x;
    const weight = links.length ? cell.weight : 0.01;
    let block = { sum: weight * (wish - offset), weight, cells: [[cell, offset]] };
    while (blocks.length && blocks.at(-1).sum / blocks.at(-1).weight > block.sum / block.weight) {
      const left = blocks.pop();
      left.cells.push(...block.cells);
      block = { sum: left.sum + block.sum, weight: left.weight + block.weight, cells: left.cells };
    }
    blocks.push(block);
  }
  for (const { sum, weight, cells } of blocks) {
    for (const [cell, distance] of cells) cell.x = sum / weight + distance;
  }
}

/** The weighted median of where the neighbours would have the cell. */
function middle(links) {
  const wishes = links.map(({ cell, own, other, weight }) => ({ at: cell.x + other - own, weight }));
  wishes.sort((one, other) => one.at - other.at);
  const half = wishes.reduce((sum, { weight }) => sum + weight, 0) / 2;
  let passed = 0;
  for (const [place, { at, weight }] of wishes.entries()) {
    passed += weight;
    if (passed > half) return at;
    if (passed === half) return (at + wishes[place + 1].at) / 2;
  }
  return wishes.at(-1).at;
}

/** Puts the bends of a chain below each other, as many in a row as the cells beside them leave room for. */
function straighten(rows, chain) {
  let run = { bends: [], left: -Infinity, right: Infinity };
  const align = ({ bends, left, right }) => {
    const mean = bends.reduce((sum, bend) => sum + bend.x, 0) / bends.length;
    for (const bend of bends) bend.x = Math.min(Math.max(mean, left), right);
  };
  for (const bend of chain) {
    const [left, right] = roomOf(rows[bend.rank], bend);
    if (Math.max(left, run.left) > Math.min(right, run.right)) {
      align(run);
      run = { bends: [], left: -Infinity, right: Infinity };
    }
    run.bends.push(bend);
    Object.assign(run, { left: Math.max(left, run.left), right: Math.min(right, run.right) });
  }
  align(run);
}

/** How far to the left and to the right a cell may go. */
function roomOf(row, { place, width }) {
  const [before, after] = [row[place - 1], row[place + 1]];
  return [
    before ? before.x + (before.width + width) / 2 + gapBefore(row, place) : -Infinity,
    after ? after.x - (after.width + width) / 2 - gapBefore(row, place + 1) : Infinity,
  ];
}

/** Sets the top and the bottom of each row; lines that go far to the side get more room. */
function stack(rows) {
  let y = 0;
  for (const [rank, row] of rows.entries()) {
    const height = row.reduce((most, cell) => Math.max(most, cell.height), 0);
    let slant = 0;
    for (const cell of row) {
      Object.assign(cell, { top: y, bottom: y + height, y: y + (height - cell.height) / 2 });
      for (const { cell: lower, own, other } of cell.below)
        slant = Math.max(slant, Math.abs(lower.x + other - cell.x - own));
    }
    const least =
      row.every((cell) => cell.side === "in") || rows[rank + 1]?.every((cell) => cell.side === "out")
        ? GAP.port
        : GAP.row;
    y += height + (row === rows.at(-1) ? 0 : Math.min(least + slant / 12, GAP.widest));
  }
  return y;
}

/** Brings the leftmost cell to 0, writes places into items and points into arcs; returns the width. */
function shift(rows, wires) {
  let [left, right] = [Infinity, -Infinity];
  for (const cell of rows.flat()) {
    left = Math.min(left, cell.x - cell.width / 2);
    right = Math.max(right, cell.x + cell.width / 2);
  }
  for (const cell of rows.flat()) {
    cell.x = Math.round(cell.x - left);
    if (cell.item) Object.assign(cell.item, { x: cell.x - cell.width / 2, y: cell.y });
  }
  const loops = wires.filter(({ loop }) => loop).length;
  for (const wire of wires) wire.arc.points = wire.loop ? detour(wire, right - left + 20) : trace(wire);
  return Math.max(right - left, 0) + (loops ? 30 : 0);
}

function trace({ tail, head, tailOffset, headOffset, bends }) {
  const [start, end] = [tail.x + tailOffset, head.x + headOffset];
  const points = [
    [start, tail.y + tail.height],
    [start, tail.bottom],
  ];
  for (const bend of bends) points.push([bend.x, bend.top], [bend.x, bend.bottom]);
  points.push([end, head.top], [end, head.y]);
  return points.filter(([x, y], place) => !place || x !== points[place - 1][0] || y !== points[place - 1][1]);
}

/** Up again, right of all. */
function detour({ tail, head, tailOffset, headOffset }, right) {
  const [bottom, top] = [tail.y + tail.height, head.y];
  const [start, end] = [tail.x + tailOffset, head.x + headOffset];
  return [
    [start, bottom],
    [start, bottom + 8],
    [right, bottom + 8],
    [right, top - 8],
    [end, top - 8],
    [end, top],
  ];
}

/** The path through points: straight along a column, a gentle S from one to the next. */
function pathThrough(points) {
  return points.reduce((path, [x, y], place) => {
    if (!place) return `M${x} ${y}`;
    const [before, above] = points[place - 1];
    if (x === before || y === above) return `${path}L${x} ${y}`;
    const half = (above + y) / 2;
    return `${path}C${before} ${half} ${x} ${half} ${x} ${y}`;
  }, "");
}
