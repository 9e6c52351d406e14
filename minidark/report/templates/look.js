"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const T = data.bytes.length;
  const SVG = "http://www.w3.org/2000/svg";
  const SIGNS = { "\n": "↵", "\t": "⇥\t" };
  const selected = { layer: 0, value: 0, unit: 0, at: 0 }; // the selection
  let hovered = null; // position under the pointer, or null
  let saveTimer = 0; // of `saveSelection`

  // --- unpacking: the inverse of minidark/report/packing.py -----------------------------------

  const squashed = (x) => Math.min(1, Math.max(-1, (x * (27 + x * x)) / (27 + 9 * x * x)));
  const EQUATIONS = {
    "gru h": (v, before) => v.z * before + (1 - v.z) * v.c,
    "lstm c": (v, before) => v.f * before + v.i * v.g,
    "lstm h": (v) => v.o * squashed(v.c),
    "rnn s": (v) => v.input + v.self,
  };

  const step = (value) => (value.high - value.low) / value.steps;
  const real = (value, i) => value.low + value.levels[i] * step(value);

  /** Adds the prediction of the layer's equation to each unit's levels, in order of time. */
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
      if (equation && layer.values.length > 1) addEquation(layer, value, equation);
    }
  }

  // --- colours --------------------------------------------------------------------------------

  let colours = ramp();

  // --- created once ---------------------------------------------------------------------------

  const layer = () => data.layers[selected.layer];
  const value = () => layer().values[selected.value];
  const level = (at, unit = selected.unit) => value().levels[unit * T + at] / value().steps; // 0 to 1
  const number = (x) => x.toFixed(value().high - value().low > 2 ? 2 : 3).replace("-", "−");

  const cells = data.cells.map((text, at) => {
    const cell = document.createElement("span");
    cell.dataset.at = at;
    cell.textContent = SIGNS[text] ?? text;
    if (text === "") cell.className = "more"; // a later byte of the previous character
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
      for (const [key, content] of Object.entries(attributes)) element.setAttribute(key, content);
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
      `Each point is a unit. Units at the lower right are mostly high, units at the upper left mostly ` +
      `low, and units at the origin rarely near either end. Click a point to select it.`;
  }

  function drawTrackers() {
    const current = [layer().name, value().name];
    const all = data.trackers[$("property").value];
    const matches = all.filter(([of, name]) =>
      !$("only").checked || (of === current[0] && name === current[1]));
    const items = matches.slice(0, 10).map(([of, name, unit, correlation]) => {
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
      none.textContent = "none: the property is constant over this text";
      items.push(none);
    }
    $("trackers").replaceChildren(...items);
    $("by-chance").textContent = data.by_chance[$("property").value].toFixed(3);
    markTracker();
  }

  function markTracker() {
    const current = JSON.stringify([layer().name, value().name, selected.unit]);
    for (const button of document.querySelectorAll("#trackers button")) {
      button.setAttribute("aria-current", button.dataset.pick === current);
    }
  }

  function drawCross() {
    $("cross-unit").style.top = `${((selected.unit + 0.5) / layer().units) * 100}%`;
    $("cross-place").style.left = `${((selected.at + 0.5) / T) * 100}%`;
  }

  function drawChosenUnit() {
    $("unit").max = layer().units - 1;
    $("unit").value = selected.unit;
    const { below, above, name, title } = value();
    const chosen = document.querySelector("#scatter .chosen");
    chosen.setAttribute("cx", across(above[1][selected.unit] / T));
    chosen.setAttribute("cy", up(below[1][selected.unit] / T));
    const percent = (count) => `${((count / T) * 100).toFixed(1)} %`;
    $("about").textContent =
      `${name}, ${title}. Unit ${selected.unit}: above ${above[0]} for ${percent(above[1][selected.unit])} of ` +
      `the time, below ${String(below[0]).replace("-", "−")} for ${percent(below[1][selected.unit])}.`;
    markTracker();
  }

  function drawPlace() {
    const at = hovered ?? selected.at;
    const bits = at ? `${data.surprise[at - 1].toFixed(2)} bits` : "not scored (first character)";
    const lines = [
      `Character ${at + 1} of ${T}: ${cellName(at)} (byte ${byteName(data.bytes[at])})`,
      `${value().name} of unit ${selected.unit}: ${number(real(value(), selected.unit * T + at))}`,
      `Surprise: ${bits}. Most likely next:`,
    ];
    $("reading").replaceChildren(...lines.map((line) =>
      Object.assign(document.createElement("p"), { textContent: line })));
    $("reading").dataset.shown = [selected.layer, selected.value, selected.unit, at].join(".");
    const came = data.bytes[at + 1];
    $("likeliest").replaceChildren(...data.likeliest[at].map((symbol, k) =>
      likelyItem(data.names[symbol], data.probabilities[at][k], symbol === came)));
  }

  function chooseCell(before) {
    cells[before].classList.remove("chosen");
    const cell = cells[selected.at];
    cell.classList.add("chosen");
    const box = $("text").getBoundingClientRect(); // scroll the text, never the page
    const { top, bottom } = cell.getBoundingClientRect();
    if (top < box.top) $("text").scrollTop -= box.top - top + 40;
    else if (bottom > box.bottom) $("text").scrollTop += bottom - box.bottom + 40;
  }

  // --- selection ------------------------------------------------------------------------------

  const within = (x, size) => Math.min(size - 1, Math.max(0, x));

  /** Change part of the selection and redraw the parts of the page that depend on it. */
  function pick(change, all = false) {
    const old = { ...selected };
    Object.assign(selected, change);
    if (all || selected.layer !== old.layer) {
      $("layer").selectedIndex = selected.layer;
      options($("value"), layer().values.map((one) => one.name));
    }
    selected.value = within(selected.value, layer().values.length);
    selected.unit = within(selected.unit, layer().units);
    selected.at = within(selected.at, T);
    $("value").selectedIndex = selected.value;
    const whole = all || selected.layer !== old.layer || selected.value !== old.value;
    if (whole) {
      drawMap();
      drawScatter();
      drawTrackers();
    }
    if (whole || selected.unit !== old.unit) {
      drawText();
      drawChosenUnit();
    }
    chooseCell(old.at);
    drawCross();
    drawPlace();
    saveSelection();
  }

  /** The selection that shows a tracker. */
  function unitOf([of, name, unit]) {
    const at = data.layers.findIndex((one) => one.name === of);
    return { layer: at, value: data.layers[at].values.findIndex((one) => one.name === name), unit };
  }

  /** Store the selection in the address, so that it can be shared as a link. It is stored after a
   *  pause, because browsers limit the rate of changes. */
  function saveSelection() {
    clearTimeout(saveTimer);
    saveTimer = setTimeout(() => {
      const { layer: l, value: v, unit, at } = selected;
      history.replaceState(null, "", `#${[l, v, unit, at].join(".")}`);
    }, 200);
  }

  /** The property with the largest correlation, and its trackers, or null if there are none. */
  function strongest() {
    const tracked = Object.entries(data.trackers).filter(([, units]) => units.length);
    const size = ([, [[, , , correlation]]]) => Math.abs(correlation);
    return tracked.reduce((best, one) => (best && size(best) >= size(one) ? best : one), null);
  }

  /** The selection in an address, or else the strongest tracker. */
  function addressed(hash) {
    const match = hash.match(/^#(\d+)\.(\d+)\.(\d+)\.(\d+)$/);
    if (!match) {
      const best = strongest();
      return best ? unitOf(best[1][0]) : {};
    }
    const [l, v, unit, at] = match.slice(1).map(Number);
    return { layer: within(l, data.layers.length), value: v, unit, at };
  }

  const KEYS = {
    ArrowLeft: () => ({ at: selected.at - 1 }),
    ArrowRight: () => ({ at: selected.at + 1 }),
    PageUp: () => ({ at: selected.at - 50 }),
    PageDown: () => ({ at: selected.at + 50 }),
    Home: () => ({ at: 0 }),
    End: () => ({ at: T - 1 }),
    ArrowUp: () => ({ unit: selected.unit - 1 }),
    ArrowDown: () => ({ unit: selected.unit + 1 }),
    g: () => ({ value: (selected.value + 1) % layer().values.length }),
    l: () => ({ layer: (selected.layer + 1) % data.layers.length }),
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
  $("previous").addEventListener("click", () => pick({ unit: selected.unit - 1 }));
  $("next").addEventListener("click", () => pick({ unit: selected.unit + 1 }));
  $("property").addEventListener("change", drawTrackers);
  $("only").addEventListener("change", drawTrackers);
  // Use the event's address: saveSelection() may have changed location since.
  addEventListener("hashchange", (event) => pick(addressed(new URL(event.newURL).hash)));
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("themechange", () => {
    colours = ramp();
    drawText();
    drawMap();
  });

  if (!("DecompressionStream" in window)) {
    $("reading").textContent = "This browser is too old to unpack the values; use one from 2023 or later.";
    return;
  }
  $("reading").textContent = "Unpacking …";
  for (const one of data.layers) await unpack(one);
  options($("layer"), data.layers.map((one) => one.name));
  if (strongest()) $("property").value = strongest()[0];
  pick(addressed(location.hash), true);
  $("text").focus({ preventScroll: true }); // so that keys work immediately
  document.body.dataset.ready = "true";
})();
