"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const T = data.bytes.length;
  const SVG = "http://www.w3.org/2000/svg";
  const SIGNS = { "\n": "↵", "\t": "⇥\t" };
  const shown = { layer: 0, value: 0, unit: 0, at: 0 }; // what is picked
  let hovered = null; // a place under the pointer, or null
  let keeping = 0; // the timer of `keep`

  // --- unpacking: minidark/report/packing.py, backwards ---------------------------------------

  const squashed = (x) => Math.min(1, Math.max(-1, (x * (27 + x * x)) / (27 + 9 * x * x)));
  const EQUATIONS = {
    "gru h": (v, before) => v.z * before + (1 - v.z) * v.c,
    "lstm c": (v, before) => v.f * before + v.i * v.g,
    "lstm h": (v) => v.o * squashed(v.c),
    "rnn s": (v) => v.input + v.self,
  };

  async function inflated(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const step = (value) => (value.high - value.low) / value.steps;
  const real = (value, i) => value.low + value.levels[i] * step(value);

  /** Adds to each unit's levels, T after T, what the layer's equation makes of the others. */
  function addEquation(layer, value, equation) {
    const others = layer.values.filter((other) => other !== value && other.levels);
    const size = step(value);
    const v = {};
    for (let unit = 0; unit < layer.units; unit++) {
      let before = 0;
      for (let i = unit * T; i < (unit + 1) * T; i++) {
        for (const other of others) v[other.name] = real(other, i);
        const nearest = Math.floor((equation(v, before) - value.low) / size + 0.5);
        const expected = Math.min(value.steps, Math.max(0, nearest));
        value.levels[i] = (value.levels[i] + expected) % (value.steps + 1);
        before = real(value, i);
      }
    }
  }

  async function unpack(layer) {
    for (const value of layer.values) {
      const levels = await inflated(value.data);
      value.levels = levels;
      const equation = EQUATIONS[`${layer.type} ${value.name}`];
      if (equation) addEquation(layer, value, equation);
    }
  }

  // --- colours --------------------------------------------------------------------------------

  /** 256 colours from low to high, as the page's style has them in light or dark. */
  function ramp() {
    const style = getComputedStyle(document.querySelector(".ramp")).backgroundImage;
    const [low, middle, high] = style.match(/rgb\([^)]*\)/g).map((c) => c.match(/[\d.]+/g).map(Number));
    return Array.from({ length: 256 }, (_, i) => {
      const [from, to, share] = i < 128 ? [low, middle, i / 127.5] : [middle, high, i / 127.5 - 1];
      return from.map((part, k) => Math.round(part + (to[k] - part) * share));
    });
  }
  let colours = ramp();

  // --- what is there once ---------------------------------------------------------------------

  const layer = () => data.layers[shown.layer];
  const value = () => layer().values[shown.value];
  const level = (at, unit = shown.unit) => value().levels[unit * T + at] / value().steps; // 0 to 1
  const number = (x) => x.toFixed(value().high - value().low > 2 ? 2 : 3).replace("-", "−");

  const cells = data.cells.map((text, at) => {
    const cell = document.createElement("span");
    cell.dataset.at = at;
    cell.textContent = SIGNS[text] ?? text;
    if (text === "") cell.className = "more"; // a later byte of the character before it
    else if (text in SIGNS) cell.className = "sign";
    else if (text.length > 2 && text.startsWith("\\")) cell.className = "code";
    return cell;
  });
  $("text").append(...cells.flatMap((cell, at) => (data.cells[at] === "\n" ? [cell, "\n"] : [cell])));

  const byteName = (byte) => `0x${byte.toString(16).padStart(2, "0")}`;
  const cellName = (at) => {
    const text = data.cells[at];
    return { "\n": "↵", "\t": "⇥", " ": "␣", "": "a later byte" }[text] ?? text;
  };

  function options(select, names) {
    select.replaceChildren(...names.map((name) => new Option(name)));
  }

  // --- drawing --------------------------------------------------------------------------------

  function drawText() {
    cells.forEach((cell, at) => {
      const v = level(at);
      cell.style.backgroundColor = `rgb(${colours[Math.round(v * 255)]})`;
      cell.style.backgroundSize = `100% ${(v * 6).toFixed(1)}px`;
    });
    $("low-end").textContent = number(value().low);
    $("high-end").textContent = number(value().high);
  }

  function drawMap() {
    const canvas = $("map");
    canvas.width = T;
    canvas.height = layer().units;
    const image = new ImageData(T, layer().units);
    const { levels, steps } = value();
    for (let i = 0; i < levels.length; i++) {
      image.data.set(colours[Math.round((levels[i] / steps) * 255)], i * 4);
      image.data[i * 4 + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  const across = (share) => 44 + share * 270; // the scatter's axes
  const up = (share) => 280 - share * 270;

  function drawScatter() {
    const { below, above } = value();
    const make = (name, attributes, text) => {
      const element = document.createElementNS(SVG, name);
      for (const [key, given] of Object.entries(attributes)) element.setAttribute(key, given);
      if (text !== undefined) element.textContent = text;
      return element;
    };
    const parts = [make("path", { class: "grid", d: `M${across(0)} ${up(1)}L${across(1)} ${up(0)}` })];
    parts.push(make("path", { class: "axis", d: `M${across(0)} ${up(1)}V${up(0)}H${across(1)}` }));
    for (const share of [0, 0.5, 1]) {
      parts.push(make("text", { x: across(share), y: up(0) + 15, "text-anchor": "middle" }, share));
      parts.push(make("text", { x: across(0) - 6, y: up(share) + 4, "text-anchor": "end" }, share));
    }
    const left = `share of time below ${below[0]}`.replace("-", "−");
    parts.push(make("text", { x: across(0.5), y: up(0) + 32, "text-anchor": "middle" },
      `share of time above ${above[0]}`));
    parts.push(make("text", { transform: `translate(12 ${up(0.5)}) rotate(-90)`, "text-anchor": "middle" }, left));
    above[1].forEach((count, unit) => {
      parts.push(make("circle", { cx: across(count / T), cy: up(below[1][unit] / T), r: 4 }));
    });
    parts.push(make("circle", { class: "chosen", r: 6 })); // above all others
    $("scatter").replaceChildren(...parts);
    $("scatter-about").textContent =
      `A point for each unit. At the lower right are those that stay high, at the upper left those ` +
      `that stay low, at the origin those that are seldom near either end. Click one to pick it.`;
  }

  function drawTrackers() {
    const here = [layer().name, value().name];
    const all = data.trackers[$("property").value];
    const found = all.filter(([of, name]) => !$("only").checked || (of === here[0] && name === here[1]));
    const items = found.slice(0, 10).map(([of, name, unit, correlation]) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      const sign = correlation < 0 ? "−" : "+";
      for (const text of [`${name} of unit ${unit}, ${of}`, sign + Math.abs(correlation).toFixed(3)]) {
        button.append(Object.assign(document.createElement("span"), { textContent: text }));
      }
      button.dataset.pick = JSON.stringify([of, name, unit]);
      button.addEventListener("click", () => pick(unitOf([of, name, unit])));
      item.append(button);
      return item;
    });
    if (!items.length) {
      const none = document.createElement("li");
      none.textContent = "none: it is the same all over this text";
      items.push(none);
    }
    $("trackers").replaceChildren(...items);
    $("by-chance").textContent = data.by_chance[$("property").value].toFixed(3);
    markTracker();
  }

  function markTracker() {
    const here = JSON.stringify([layer().name, value().name, shown.unit]);
    for (const button of document.querySelectorAll("#trackers button")) {
      button.setAttribute("aria-current", button.dataset.pick === here);
    }
  }

  function drawCross() {
    $("cross-unit").style.top = `${((shown.unit + 0.5) / layer().units) * 100}%`;
    $("cross-place").style.left = `${((shown.at + 0.5) / T) * 100}%`;
  }

  function drawChosenUnit() {
    $("unit").max = layer().units - 1;
    $("unit").value = shown.unit;
    const { below, above, name, title } = value();
    const chosen = document.querySelector("#scatter .chosen");
    chosen.setAttribute("cx", across(above[1][shown.unit] / T));
    chosen.setAttribute("cy", up(below[1][shown.unit] / T));
    const percent = (count) => `${((count / T) * 100).toFixed(1)} %`;
    $("about").textContent =
      `${name}, ${title}. Unit ${shown.unit}: above ${above[0]} for ${percent(above[1][shown.unit])} of ` +
      `the time, below ${String(below[0]).replace("-", "−")} for ${percent(below[1][shown.unit])}.`;
    markTracker();
  }

  function drawPlace() {
    const at = hovered ?? shown.at;
    const bits = at ? `${data.surprise[at - 1].toFixed(2)} bits` : "not scored, it is the first";
    const lines = [
      `Character ${at + 1} of ${T}: ${cellName(at)} (byte ${byteName(data.bytes[at])})`,
      `${value().name} of unit ${shown.unit}: ${number(real(value(), shown.unit * T + at))}`,
      `Surprise: ${bits}. Likeliest next:`,
    ];
    $("reading").replaceChildren(...lines.map((line) =>
      Object.assign(document.createElement("p"), { textContent: line })));
    $("reading").dataset.shown = [shown.layer, shown.value, shown.unit, at].join(".");
    const came = data.bytes[at + 1];
    $("likeliest").replaceChildren(...data.likeliest[at].map((symbol, k) => {
      const item = document.createElement("li");
      const p = data.probabilities[at][k];
      const [name, bar, percent] = ["code", "span", "span"].map((tag) => document.createElement(tag));
      name.textContent = data.names[symbol];
      bar.className = "share";
      bar.style.width = `${p * 100}%`;
      percent.className = "percent";
      percent.textContent = `${(p * 100).toFixed(2)} %`;
      item.append(name, bar, percent);
      if (symbol === came) {
        item.className = "came";
        item.title = "this one came";
      }
      return item;
    }));
  }

  function chooseCell(before) {
    cells[before].classList.remove("chosen");
    const cell = cells[shown.at];
    cell.classList.add("chosen");
    const box = $("text").getBoundingClientRect(); // scroll the text, never the page
    const { top, bottom } = cell.getBoundingClientRect();
    if (top < box.top) $("text").scrollTop -= box.top - top + 40;
    else if (bottom > box.bottom) $("text").scrollTop += bottom - box.bottom + 40;
  }

  // --- picking --------------------------------------------------------------------------------

  const within = (x, size) => Math.min(size - 1, Math.max(0, x));

  /** Change some of what is picked, and draw what hangs on it. */
  function pick(change, all = false) {
    const old = { ...shown };
    Object.assign(shown, change);
    if (all || shown.layer !== old.layer) {
      $("layer").selectedIndex = shown.layer;
      options($("value"), layer().values.map((one) => one.name));
    }
    shown.value = within(shown.value, layer().values.length);
    shown.unit = within(shown.unit, layer().units);
    shown.at = within(shown.at, T);
    $("value").selectedIndex = shown.value;
    const whole = all || shown.layer !== old.layer || shown.value !== old.value;
    if (whole) {
      drawMap();
      drawScatter();
      drawTrackers();
    }
    if (whole || shown.unit !== old.unit) {
      drawText();
      drawChosenUnit();
    }
    chooseCell(old.at);
    drawCross();
    drawPlace();
    keep();
  }

  /** What to pick to see a tracker. */
  function unitOf([of, name, unit]) {
    const at = data.layers.findIndex((one) => one.name === of);
    return { layer: at, value: data.layers[at].values.findIndex((one) => one.name === name), unit };
  }

  /** The address says what is picked, so that a find can be handed on; once the picking rests,
   *  for browsers take only so many changes of it. */
  function keep() {
    clearTimeout(keeping);
    keeping = setTimeout(() => {
      const { layer: l, value: v, unit, at } = shown;
      history.replaceState(null, "", `#${[l, v, unit, at].join(".")}`);
    }, 200);
  }

  /** The property that is tracked best, and by which unit: null where nothing is tracked. */
  function strongest() {
    const found = Object.entries(data.trackers).filter(([, units]) => units.length);
    const size = ([, [[, , , correlation]]]) => Math.abs(correlation);
    return found.reduce((best, one) => (best && size(best) >= size(one) ? best : one), null);
  }

  /** What an address says, or else the strongest find. */
  function addressed(hash) {
    const found = hash.match(/^#(\d+)\.(\d+)\.(\d+)\.(\d+)$/);
    if (!found) {
      const best = strongest();
      return best ? unitOf(best[1][0]) : {};
    }
    const [l, v, unit, at] = found.slice(1).map(Number);
    return { layer: within(l, data.layers.length), value: v, unit, at };
  }

  const KEYS = {
    ArrowLeft: () => ({ at: shown.at - 1 }),
    ArrowRight: () => ({ at: shown.at + 1 }),
    PageUp: () => ({ at: shown.at - 50 }),
    PageDown: () => ({ at: shown.at + 50 }),
    Home: () => ({ at: 0 }),
    End: () => ({ at: T - 1 }),
    ArrowUp: () => ({ unit: shown.unit - 1 }),
    ArrowDown: () => ({ unit: shown.unit + 1 }),
    g: () => ({ value: (shown.value + 1) % layer().values.length }),
    l: () => ({ layer: (shown.layer + 1) % data.layers.length }),
  };
  for (const element of document.querySelectorAll(".keys")) {
    element.addEventListener("keydown", (event) => {
      const change = KEYS[event.key];
      if (!change || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      hovered = null;
      pick(change());
    });
  }

  const placeOf = (event) => event.target.closest("#text span")?.dataset.at;
  $("text").addEventListener("click", (event) => {
    const at = placeOf(event);
    if (at !== undefined) pick({ at: Number(at) });
  });
  $("text").addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const at = placeOf(event);
    hovered = at === undefined ? null : Number(at);
    drawPlace();
  });
  $("text").addEventListener("pointerleave", () => {
    hovered = null;
    drawPlace();
  });
  $("map").addEventListener("click", (event) => {
    const box = $("map").getBoundingClientRect();
    pick({
      at: Math.floor(((event.clientX - box.left) / box.width) * T),
      unit: Math.floor(((event.clientY - box.top) / box.height) * layer().units),
    });
  });
  $("scatter").addEventListener("click", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform($("scatter").getScreenCTM().inverse());
    const { below, above } = value();
    const far = above[1].map((count, unit) =>
      Math.hypot(across(count / T) - at.x, up(below[1][unit] / T) - at.y));
    pick({ unit: far.indexOf(Math.min(...far)) });
  });
  $("layer").addEventListener("change", () => pick({ layer: $("layer").selectedIndex }));
  $("value").addEventListener("change", () => pick({ value: $("value").selectedIndex }));
  $("unit").addEventListener("input", () => {
    if ($("unit").value !== "") pick({ unit: Math.round(Number($("unit").value)) });
  });
  $("previous").addEventListener("click", () => pick({ unit: shown.unit - 1 }));
  $("next").addEventListener("click", () => pick({ unit: shown.unit + 1 }));
  $("property").addEventListener("change", drawTrackers);
  $("only").addEventListener("change", drawTrackers);
  // By the event, not location: keep() may have written over that since.
  addEventListener("hashchange", (event) => pick(addressed(new URL(event.newURL).hash)));
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("themechange", () => {
    colours = ramp();
    drawText();
    drawMap();
  });

  if (!("DecompressionStream" in window)) {
    $("reading").textContent = "This browser is too old to unpack the values; any of 2023 or later does.";
    return;
  }
  $("reading").textContent = "Unpacking …";
  for (const one of data.layers) await unpack(one);
  options($("layer"), data.layers.map((one) => one.name));
  if (strongest()) $("property").value = strongest()[0];
  pick(addressed(location.hash), true);
  $("text").focus({ preventScroll: true }); // so that keys work at once
  document.body.dataset.ready = "true";
})();
