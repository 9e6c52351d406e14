"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const symbols = symbolsOf(data);
  const SLICE = 8; // milliseconds of work before the page may react to input
  const MORE = 200; // symbols
  const PAUSE = 1500; // milliseconds without typing until the network continues
  const SHOWN = 5; // likely symbols
  const MOST_BITS = 8; // surprise at the end of the scale
  const LEAST_P = 2 ** -126; // float32's smallest, so that the surprise is finite
  const ROWS_AT_ONCE = 256; // of the recording

  // --- slices of time -------------------------------------------------------------------------

  const channel = new MessageChannel();
  const paused = [];
  channel.port1.onmessage = () => paused.shift()();
  /** Let the page react, then continue. Timers would wait longer. */
  const breath = () => new Promise((resolve) => {
    paused.push(resolve);
    channel.port2.postMessage(null);
  });

  /** Calls work() until it returns false, in slices of time. */
  async function inSlices(work) {
    for (;;) {
      const end = performance.now() + SLICE;
      while (performance.now() < end) if (!work()) return;
      await breath();
    }
  }

  // --- for scripts ----------------------------------------------------------------------------

  const loading = Network.unpacked(data.layers);

  async function readAll(stream, ids) {
    let at = 0;
    await inSlices(() => {
      if (at < ids.length) stream.step(ids[at++]);
      return at < ids.length;
    });
  }

  function encoded(text, what) {
    const ids = symbols.encode(text).filter((cell) => !cell.blank).map((cell) => cell.symbol);
    if (!ids.length) throw new Error(`the ${what} is empty; at least one symbol is needed`);
    const unknown = ids.find((id) => id < 0 || id >= data.inputs);
    if (unknown !== undefined) throw new Error(`the ${what} has a symbol that the network does not know`);
    return ids;
  }

  window.minidark = {
    /** The probabilities of the symbol after a text, which the network reads from zero state. */
    async predict(text) {
      const ids = encoded(text, "text");
      const stream = (await loading).start();
      await readAll(stream, ids);
      return [...stream.probabilities()];
    },

    /** The seed and `length` sampled bytes or tokens; the same text for the same srand. */
    async generate({ seed = data.seed, length = 1000, temperature = 0.7, srand = 0, topK = Infinity } = {}) {
      const ids = encoded(seed, "seed");
      const stream = (await loading).start();
      await readAll(stream, ids);
      const before = ids.reduce((sum, id) => sum + symbols.size(id), 0);
      let [drawn, size] = [0, 0];
      await inSlices(() => {
        if (size >= length) return false;
        const symbol = choose(stream, { temperature, topK, chance: uniform(srand, drawn++) });
        ids.push(symbol);
        size += symbols.size(symbol);
        stream.step(symbol);
        return size < length;
      });
      return symbols.print(ids, before + length);
    },
  };

  // --- the text and what the network computed -------------------------------------------------

  let network = null; // until the weights are unpacked
  let stream = null; // has read the primer and the first `read` cells
  let probe = null; // another stream, for the cursor's place
  let cells = [];
  let read = 0;
  let toWrite = 0;
  let working = false;
  let composing = false; // an input method is composing a character
  let speed = null; // symbols a second of the last stretch
  let rows = []; // the recording: the values after each cell

  /** Whether the network knows the symbol of a cell. It skips others. */
  const isKnown = ({ symbol }) => symbol >= 0 && symbol < data.inputs;

  const rowOf = (n) => {
    while (rows.length * ROWS_AT_ONCE <= n) rows.push(new Float32Array(ROWS_AT_ONCE * stream.width));
    const at = (n % ROWS_AT_ONCE) * stream.width;
    return rows[Math.floor(n / ROWS_AT_ONCE)].subarray(at, at + stream.width);
  };

  function readPrimer(one) {
    one.reset();
    for (const symbol of data.primer) one.step(symbol);
  }

  /** Put a stream after the first n cells, which have been read. */
  function moveTo(one, n) {
    let last = n; // the number of cells up to the last one that was not skipped
    while (last && !isKnown(cells[last - 1])) last--;
    if (last > 1) one.load(rowOf(last - 2));
    else readPrimer(one);
    if (last) one.step(cells[last - 1].symbol);
  }

  function readNext() {
    const cell = cells[read];
    const p = isKnown(cell) ? stream.probabilities()[cell.symbol] : undefined;
    cell.bits = p === undefined ? null : -Math.log2(Math.max(p, LEAST_P));
    if (isKnown(cell)) stream.step(cell.symbol);
    stream.save(rowOf(read++));
  }

  function writeNext() {
    const [temperature, topK, seed] = settings();
    const symbol = choose(stream, { temperature, topK, chance: uniform(seed, cells.length) });
    const unchanged = symbols.append(cells, symbol);
    measureEnds(unchanged);
    drawnCells = Math.min(drawnCells, unchanged);
    toWrite--;
  }

  /** Store where each cell ends in the text. */
  function measureEnds(from) {
    let end = from ? cells[from - 1].end : 0;
    for (let n = from; n < cells.length; n++) cells[n].end = end += cells[n].text.length;
  }

  const textOf = (list) => list.map((cell) => cell.text).join("");

  /** Replace the cells. The network continues from the first difference. */
  function replaceCells(next) {
    let same = 0;
    const equal = (a, b) => a && b && a.symbol === b.symbol && a.text === b.text;
    while (same < next.length && equal(cells[same], next[same])) {
      next[same].bits = cells[same].bits;
      same++;
    }
    if (stream && same < read) {
      moveTo(stream, same);
      read = same;
    }
    cells = next;
    measureEnds(0);
    drawnCells = Math.min(drawnCells, same);
  }

  /** Read the text area. Cells that the network wrote keep their symbols up to the first change. */
  function takeText() {
    const text = $("text").value;
    const before = textOf(cells);
    let same = 0;
    while (same < text.length && text[same] === before[same]) same++;
    let keep = cells.findIndex((cell) => cell.end > same);
    if (keep < 0) keep = cells.length;
    while (keep && !cells[keep - 1].written) keep--;
    const rest = text.slice(keep ? cells[keep - 1].end : 0);
    replaceCells([...cells.slice(0, keep), ...symbols.encode(rest)]);
  }

  const written = () => cells.length - cells.findLastIndex((cell) => !cell.written) - 1;

  async function work() {
    if (working || !network) return;
    working = true;
    let [count, start] = [0, performance.now()];
    await inSlices(() => {
      if (read < cells.length) readNext();
      else if (toWrite > 0 && cells.length < data.most) writeNext();
      else return false;
      count++;
      draw();
      return true;
    });
    working = false;
    toWrite = 0;
    if (count > 50) speed = count / ((performance.now() - start) / 1000);
    draw();
  }

  function write(count) {
    toWrite = count;
    work();
  }

  function stop() {
    clearTimeout(pauseTimer);
    toWrite = 0;
    draw();
  }

  /** Write the end of the text again, with new settings. */
  function rewrite() {
    const count = written() + toWrite;
    if (!count) return;
    replaceCells(cells.slice(0, cells.length - written()));
    write(count);
  }

  // --- settings -------------------------------------------------------------------------------

  const COUNTS = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
  const topKs = [...COUNTS.filter((count) => count < data.names.length), data.names.length];
  const settings = () =>
    [Number($("temperature").value), topKs[$("top-k").value], Number($("seed").value)];

  function showSettings() {
    const [temperature, topK, seed] = settings();
    const count = topK === data.names.length ? "all" : String(topK);
    const shown = { temperature: temperature.toFixed(2), "top-k": count, seed: String(seed) };
    for (const [id, text] of Object.entries(shown)) {
      $(`${id}-value`).textContent = text;
      $(id).setAttribute("aria-valuetext", text);
    }
  }

  // --- tint -----------------------------------------------------------------------------------

  const byName = (layer, name) => data.values.findIndex((one) => one.layer === layer && one.name === name);
  const starts = []; // of each value in a row of the recording
  data.values.reduce((at, value) => (starts.push(at), at + value.units), 0);

  /** The tint: its scale's ends as text, and the level of a cell, 0 to 1, or null for none. */
  function tint() {
    const kind = $("tint").value;
    if (kind === "nothing") return { level: () => null };
    if (kind === "surprise") {
      const level = ({ bits }) => (bits == null ? null : 0.5 + Math.min(bits / MOST_BITS, 1) / 2);
      return { low: "0 bits", high: `${MOST_BITS} bits or more`, level, half: true };
    }
    const { low, high, units } = data.values[kind];
    const unit = Math.min(Number($("unit").value), units - 1);
    const level = (cell, n) => Math.min(1, Math.max(0, (rowOf(n)[starts[kind] + unit] - low) / (high - low)));
    const number = (x) => String(Number(x.toFixed(2))).replace("-", "−");
    return { low: number(low), high: number(high), level };
  }

  let colours = ramp();
  let tinting = tint();

  function chooseTint() {
    const value = data.values[$("tint").value];
    $("unit-label").hidden = !value;
    if (value) {
      $("unit").max = value.units - 1;
      $("unit").value = Math.min(Math.max(0, Math.round(Number($("unit").value))), value.units - 1);
    }
    tinting = tint();
    tinted = 0;
    $("legend").hidden = tinting.low === undefined;
    $("legend").classList.toggle("half", Boolean(tinting.half));
    $("low-end").textContent = tinting.low ?? "";
    $("high-end").textContent = tinting.high ?? "";
    for (const chip of document.querySelectorAll("#finds button")) {
      chip.setAttribute("aria-pressed", Boolean(value) && chip.dataset.pick === `${$("tint").value}.${$("unit").value}`);
    }
    draw();
  }

  // --- drawing --------------------------------------------------------------------------------

  let spans = []; // of the cells that are drawn; null for a cell without characters
  let drawnCells = 0; // cells whose spans are up to date
  let tinted = 0; // cells whose tint is up to date
  let scheduled = false;
  let pauseTimer = 0;

  function draw() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      drawText();
      drawTints();
      drawPlace();
      drawStatus();
    });
  }

  function drawText() {
    tinted = Math.min(tinted, drawnCells);
    for (const span of spans.splice(drawnCells)) span?.remove();
    const added = cells.slice(drawnCells).map((cell) => {
      if (!cell.text) return null;
      const span = document.createElement("span");
      span.textContent = cell.text;
      if (!isKnown(cell) && !cell.blank) span.className = "unknown";
      return span;
    });
    spans.push(...added);
    $("end").before(...added.filter(Boolean));
    drawnCells = cells.length;
    writeText();
  }

  /** Put what the network wrote into the text area. A cursor at the end stays at the end. */
  function writeText() {
    const area = $("text");
    const [before, after] = [area.value, textOf(cells)];
    if (before === after || composing) return;
    const atEnd = area.selectionStart === before.length;
    let same = 0;
    while (same < after.length && before[same] === after[same]) same++;
    area.setRangeText(after.slice(same), same, before.length, "preserve");
    if (atEnd) area.setSelectionRange(after.length, after.length);
    const box = $("editor");
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  function drawTints() {
    for (const end = Math.min(read, cells.length); tinted < end; tinted++) {
      const span = spans[tinted];
      if (!span) continue;
      const level = tinting.level(cells[tinted], tinted);
      const bar = tinting.half ? 2 * (level - 0.5) : level;
      span.style.backgroundColor = level === null ? "" : `rgb(${colours[Math.round(level * 255)]})`;
      span.style.backgroundSize = level === null ? "" : `100% ${(bar * 6).toFixed(1)}px`;
    }
  }

  /** The number of cells before the cursor. */
  function cursor() {
    const at = $("text").selectionStart;
    let [low, high] = [0, cells.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cells[middle].end <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function drawPlace() {
    if (!network) return;
    const place = cursor();
    if (place > read) return; // the network is still reading
    const here = place === read ? stream : probe;
    if (here === probe) moveTo(probe, place);
    const p = here.probabilities();
    const came = cells[place]?.symbol;
    $("likeliest").replaceChildren(...largest(p, SHOWN).map((symbol) =>
      likelyItem(data.names[symbol], p[symbol], symbol === came)));
    $("place").textContent = cells.length && place < cells.length ? "At the cursor" : "At the end of the text";
    document.body.dataset.place = place;
  }

  function drawStatus() {
    const busy = working && (toWrite > 0 || read < cells.length);
    $("stop").disabled = !busy;
    const bits = cells.slice(0, read).map((cell) => cell.bits).filter((b) => b != null);
    const unknown = cells.filter((cell) => !isKnown(cell) && !cell.blank).length;
    const count = (n) => n.toLocaleString("en");
    $("status").textContent = [
      cells.length >= data.most ? `The text is full: ${count(cells.length)} ${data.unit}` : `${count(cells.length)} ${data.unit}`,
      bits.length ? `${(bits.reduce((a, b) => a + b) / bits.length).toFixed(2)} bits for each` : "",
      speed ? `${count(Math.round(speed))} a second` : "",
      unknown ? `${count(unknown)} unknown to the network, which skips them` : "",
    ].filter(Boolean).join(" · ");
    document.body.dataset.busy = busy;
  }

  // --- events ---------------------------------------------------------------------------------

  $("text").addEventListener("input", () => {
    stop();
    takeText();
    work();
    draw();
    if ($("continue").checked) pauseTimer = setTimeout(continueText, PAUSE);
  });

  function continueText() {
    const { value, selectionStart } = $("text");
    if (value && selectionStart === value.length && !composing && !toWrite) write(MORE);
  }

  $("text").addEventListener("compositionstart", () => (composing = true));
  $("text").addEventListener("compositionend", () => (composing = false));
  document.addEventListener("selectionchange", draw);
  for (const event of ["keyup", "pointerup", "select"]) $("text").addEventListener(event, draw);
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      write(MORE);
    }
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
  });
  $("write").addEventListener("click", () => write(MORE));
  $("step").addEventListener("click", () => write(1));
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", () => {
    stop();
    replaceCells([]);
    draw();
    $("text").focus();
  });
  for (const id of ["temperature", "top-k", "seed"]) {
    $(id).addEventListener("input", () => {
      showSettings();
      rewrite();
    });
  }
  $("tint").addEventListener("change", chooseTint);
  $("unit").addEventListener("input", () => $("unit").value !== "" && chooseTint());
  document.addEventListener("themechange", () => {
    colours = ramp();
    tinted = 0;
    draw();
  });
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());

  // --- start ----------------------------------------------------------------------------------

  data.values.forEach(({ layer, name, title }, n) => $("tint").add(new Option(`${layer} ${name}: ${title}`, n)));
  for (const [property, layer, name, unit, correlation] of data.finds) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.dataset.pick = `${byName(layer, name)}.${unit}`;
    const sign = correlation < 0 ? "−" : "+";
    chip.textContent = `${property}: ${name} of unit ${unit}, ${sign}${Math.abs(correlation).toFixed(2)}`;
    chip.addEventListener("click", () => {
      [$("tint").value, $("unit").value] = chip.dataset.pick.split(".");
      chooseTint();
    });
    $("finds").append(chip);
  }
  $("top-k").max = topKs.length - 1;
  $("top-k").value = topKs.length - 1;
  $("text").maxLength = data.most;
  showSettings();
  chooseTint();
  loading.then((loaded) => {
    network = loaded;
    [stream, probe] = [network.start(), network.start()];
    readPrimer(stream);
    takeText(); // a browser may restore a text
    if (cells.length) work();
    else write(MORE);
    document.body.dataset.ready = "true";
    draw();
  });
})();
