// The page of a notebook: moves its sliders through stored frames, or, on request, runs it in Pyodide.
"use strict";
(() => {
  const HOME = "https://cdn.jsdelivr.net/pyodide/v314.0.7/full/";
  const STORED = "What you see is stored: it was made when the site was built.";
  const data = JSON.parse(document.getElementById("touch-data").textContent);
  const here = document.currentScript.src;
  const button = document.getElementById("touch-run");
  const status = document.getElementById("touch-status");
  const cells = new Map();
  for (const cell of document.querySelectorAll("[data-cell]")) cells.set(cell.dataset.cell, cell);
  const first = new Map([...cells].map(([index, cell]) => [index, cell.innerHTML]));
  let python = null; // the notebook that runs, if one does

  const say = (text) => { status.textContent = text; };
  const painted = () => new Promise((done) => setTimeout(done, 30));
  const inputs = (within) => within.querySelectorAll("input, select, textarea");
  const listed = (input, name) => JSON.parse(input.dataset[name]);

  // The place of an input's value among all that it can take; a text has none.
  function placeOf(input) {
    if (input.tagName === "TEXTAREA") return input.value;
    if (input.tagName === "SELECT") return input.selectedIndex;
    return python ? Number(input.value) : listed(input, "stored")[input.value];
  }

  function label(input) {
    if (input.type === "range") input.nextElementSibling.textContent = listed(input, "all")[placeOf(input)];
  }

  function enable(within) {
    for (const input of inputs(within)) {
      input.disabled = !python && listed(input, "stored").length < 2;
      if (python && input.type === "range" && !input.dataset.live) {
        const place = listed(input, "stored")[input.value];
        input.max = listed(input, "all").length - 1;
        input.value = place;
        input.dataset.live = "yes";
      }
      label(input);
    }
  }

  function show(changed) {
    for (const [index, html] of Object.entries(changed)) {
      if (!cells.has(index)) continue; // a cell that shows nothing
      cells.get(index).innerHTML = html;
      enable(cells.get(index));
    }
  }

  // One slider moves through what is stored; the others go back to where they began.
  function step(input) {
    const changed = {};
    for (const [index, html] of first) if (!cells.get(index).contains(input)) changed[index] = html;
    const own = input.closest("[data-cell]");
    for (const other of inputs(own)) {
      if (other === input) continue;
      if (other.tagName === "SELECT") for (const option of other.options) option.selected = option.defaultSelected;
      else other.value = other.defaultValue;
      label(other);
    }
    show({ ...changed, ...data.frames[`${input.name}=${placeOf(input)}`] });
  }

  async function compute(input) {
    say("Python is at work …");
    await painted();
    try {
      show(JSON.parse(python.answer(input.name, placeOf(input))));
      say("This is Python in your browser: whatever you move is computed.");
    } catch (error) {
      say(`Python could not do it: ${lastLine(error)}`);
    }
  }

  const lastLine = (error) => String(error.message ?? error).trim().split("\n").pop();

  function load(source) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = done;
      script.onerror = () => failed(new Error(`${source} cannot be fetched`));
      document.head.append(script);
    });
  }

  async function start() {
    say("Python is being fetched: some tens of megabytes, once …");
    await load(new URL("tinygrad_norm.js", here).href);
    await load(`${HOME}pyodide.js`);
    const pyodide = await loadPyodide({ indexURL: HOME });
    await pyodide.loadPackage(["numpy", "matplotlib"]);
    say("The notebook runs …");
    await painted();
    const archive = Uint8Array.from(atob(tinygradNorm), (letter) => letter.charCodeAt(0));
    pyodide.unpackArchive(archive, "zip", { extractDir: "/home/pyodide" });
    pyodide.runPython("import sys; sys.path.insert(0, '/home/pyodide'); from notebook import Notebook");
    return pyodide.globals.get("Notebook")(data.source, data.file);
  }

  async function run() {
    button.disabled = true;
    try {
      python = await start();
      const now = JSON.parse(python.all());
      show(now);
      button.hidden = true;
      say("This is Python in your browser: whatever you move is computed.");
    } catch (error) {
      python = null;
      button.disabled = false;
      const offline = !navigator.onLine || /fetch/i.test(error.message);
      say(`${offline ? "There is no network to fetch Python from" : "Python failed"} (${lastLine(error)}). ${STORED}`);
    }
  }

  document.addEventListener("input", ({ target }) => {
    if (!target.closest("[data-cell]")) return;
    label(target);
    if (!python) step(target);
  });
  document.addEventListener("change", ({ target }) => {
    if (python && target.closest("[data-cell]")) compute(target);
  });
  button.addEventListener("click", run);
  button.hidden = false;
  for (const cell of cells.values()) enable(cell);
})();
