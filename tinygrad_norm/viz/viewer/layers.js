// Lays one level out in layers, from top to bottom: who is in which layer, and in which order.
// A cell stands for an item, for a port on the level's edge, or for a bend of a line that passes a layer.

const SWEEPS = 10;
const MOST_BENDS = 20_000; // lines that would need more go straight

/** Sets x and y of each item from the level's corner, and the points of each arc; returns the level's size. */
function layOut(items, arcs) {
  const cells = new Map(items.map((item) => [item, newCell(item)]));
  const wires = arcs.map((arc) => newWire(arc, cells.get(arc.tail), cells.get(arc.head)));
  const all = [...cells.values()];
  markLoops(all);
  rankCells(all);
  const chains = bendWires(wires);
  const rows = rowsOf([...all, ...chains.flat()]);
  untangle(rows);
  return placeRows(rows, chains, wires);
}

function newCell(item) {
  const { width, height } = item;
  const weight = { port: 1e3, parameter: 1, tensor: 1 }[item.kind] ?? 1e6; // the flow is straight, parameters give way
  return { item, width, height, weight, side: item.side, leaving: [], entering: [], above: [], below: [], rank: 0 };
}

function newWire(arc, tail, head) {
  const offset = (item, port) => (port ? port.x - item.width / 2 : 0);
  const wire = { arc, tail, head, loop: false, bends: [] };
  Object.assign(wire, { tailOffset: offset(arc.tail, arc.tailPort), headOffset: offset(arc.head, arc.headPort) });
  tail.leaving.push(wire);
  head.entering.push(wire);
  return wire;
}

/** Marks, by a walk in depth, wires that lead back to where the walk came from: a module that runs twice makes such. */
function markLoops(cells) {
  for (const start of cells) {
    const walk = start.seen ? [] : [{ cell: start, next: 0 }];
    start.seen ??= "on the way";
    while (walk.length) {
      const step = walk.at(-1);
      const wire = step.cell.leaving[step.next];
      step.next += 1;
      if (!wire) {
        step.cell.seen = "done";
        walk.pop();
      } else if (wire.head.seen === "on the way") wire.loop = true;
      else if (!wire.head.seen) {
        wire.head.seen = "on the way";
        walk.push({ cell: wire.head, next: 0 });
      }
    }
  }
  for (const cell of cells) {
    cell.leaving = cell.leaving.filter((wire) => !wire.loop);
    cell.entering = cell.entering.filter((wire) => !wire.loop);
  }
}

/** The layer of each cell: that of the longest path to it; what starts a path goes right above what takes it. */
function rankCells(cells) {
  const least = cells.some((cell) => cell.side === "in") ? 1 : 0;
  const ready = cells.filter((cell) => !cell.entering.length);
  let last = 0;
  for (const cell of cells) cell.waits = cell.entering.length;
  for (const cell of ready) {
    // grows as it goes
    if (cell.side !== "in") cell.rank = Math.max(cell.rank, least);
    last = Math.max(last, cell.rank);
    for (const { head } of cell.leaving) {
      head.rank = Math.max(head.rank, cell.rank + 1);
      head.waits -= 1;
      if (!head.waits) ready.push(head);
    }
  }
  for (const cell of cells) {
    if (cell.side === "out") cell.rank = last;
    else if (!cell.entering.length && !cell.side && cell.leaving.length) {
      cell.rank = cell.leaving.reduce((rank, { head }) => Math.min(rank, head.rank - 1), Infinity);
    }
  }
}

/** Gives each wire a bend in each layer it passes; wires from one place share a chain of them. Links neighbours. */
function bendWires(wires) {
  const trunks = new Map();
  for (const wire of wires.filter((one) => !one.loop)) {
    const start = wire.arc.tailPort ?? wire.tail.item;
    if (!trunks.has(start)) trunks.set(start, []);
    trunks.get(start).push(wire);
  }
  const length = (trunk) => trunk.reduce((most, { tail, head }) => Math.max(most, head.rank - tail.rank - 1), 0);
  const chains = [];
  let count = 0;
  for (const [, trunk] of [...trunks].sort(([, one], [, other]) => length(one) - length(other))) {
    count += length(trunk);
    const chain = Array.from({ length: count > MOST_BENDS ? 0 : length(trunk) }, (_, step) =>
      newBend(trunk[0].tail.rank + 1 + step),
    );
    chain.forEach((bend, step) =>
      link(step ? chain[step - 1] : trunk[0].tail, bend, step ? 0 : trunk[0].tailOffset, 0),
    );
    for (const wire of trunk) {
      const passed = wire.head.rank - wire.tail.rank - 1;
      wire.bends = chain.slice(0, passed);
      if (wire.bends.length === passed) {
        link(wire.bends.at(-1) ?? wire.tail, wire.head, passed ? 0 : wire.tailOffset, wire.headOffset);
      }
    }
    chains.push(chain);
  }
  return chains;
}

function newBend(rank) {
  return { item: null, width: 8, height: 0, weight: 1e3, above: [], below: [], rank };
}

function link(upper, lower, upperOffset, lowerOffset) {
  const bends = (upper.item ? 0 : 1) + (lower.item ? 0 : 1);
  const weight = upper.weight === 1 ? 0.1 : [4, 2, 8][bends];
  upper.below.push({ cell: lower, own: upperOffset, other: lowerOffset, weight });
  lower.above.push({ cell: upper, own: lowerOffset, other: upperOffset, weight });
}

function rowsOf(cells) {
  const rows = [];
  for (const cell of cells) (rows[cell.rank] ??= []).push(cell);
  return Array.from(rows, (row) => row ?? []);
}

/** Orders each row by the mean place of its neighbours above, then below, in turns; the fewest crossings win. */
function untangle(rows) {
  rows.forEach(number);
  let best = rows.map((row) => [...row]);
  let fewest = crossings(rows);
  for (let sweep = 0; sweep < SWEEPS && fewest; sweep += 1) {
    if (sweep % 2) for (let rank = rows.length - 2; rank >= 0; rank -= 1) sortRow(rows[rank], "below");
    else for (let rank = 1; rank < rows.length; rank += 1) sortRow(rows[rank], "above");
    const now = crossings(rows);
    if (now < fewest) [best, fewest] = [rows.map((row) => [...row]), now];
  }
  best.forEach((row, rank) => number((rows[rank] = row)));
}

function number(row) {
  row.forEach((cell, place) => (cell.place = place));
}

/** Where along its row a link ends: a port lies left or right on its cell. */
function endOf(cell, offset) {
  return cell.place + (offset / (cell.width || 1)) * 0.9;
}

function sortRow(row, side) {
  for (const cell of row) {
    const ends = cell[side].map(
      ({ cell: other, other: offset, own }) => endOf(other, offset) - (own / (cell.width || 1)) * 0.9,
    );
    cell.wish = ends.length ? ends.reduce((sum, end) => sum + end, 0) / ends.length : cell.place;
  }
  row.sort((one, other) => one.wish - other.wish || one.place - other.place);
  number(row);
}

function crossings(rows) {
  let count = 0;
  for (const row of rows) {
    const pairs = [];
    for (const cell of row) {
      for (const { cell: lower, own, other } of cell.below) pairs.push([endOf(cell, own), endOf(lower, other)]);
    }
    if (pairs.length < 2) continue;
    pairs.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    count += inversions(pairs.map(([, end]) => end))[1];
  }
  return count;
}

/** The values sorted, and how many pairs of them stood the wrong way round. */
function inversions(values) {
  if (values.length < 2) return [values, 0];
  const middle = values.length >> 1;
  const [left, inLeft] = inversions(values.slice(0, middle));
  const [right, inRight] = inversions(values.slice(middle));
  const sorted = [];
  let count = inLeft + inRight;
  for (let one = 0, other = 0; one < left.length || other < right.length;) {
    if (other === right.length || (one < left.length && left[one] <= right[other])) sorted.push(left[one++]);
    else {
      count += left.length - one;
      sorted.push(right[other++]);
    }
  }
  return [sorted, count];
}
