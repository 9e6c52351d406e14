"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const T = data.bytes.length;
  const C = data.cells.length; // characters
  const ends = data.ends ?? data.bytes.map((_, at) => at); // the last byte of each character
  const firstByte = (at) => (at ? ends[at - 1] + 1 : 0);
  const SVG = "http://www.w3.org/2000/svg";
  const SIGNS = { "\n": "↵", "\t": "⇥\t" };
  const MOST_BITS = 8; // of the colours of surprise
  const SAVE_EVERY = 200; // milliseconds between changes of the address
  const selected = { layer: 0, value: 0, unit: 0, at: 0, surprise: false }; // the selection
  let stretch = null; // the selected characters [from, to], or null
  let hovered = null; // the character under the pointer, or null
  let saveTimer = 0; // of `saveSelection`
  let savedAt = -Infinity; // its time
  let stretchTimer = 0; // of `takeStretch`
  let colours = null; // `ramp()`

  // --- created once ---------------------------------------------------------------------------

  const layer = () => data.layers[selected.layer];
  const value = () => layer().values[selected.value];
  const position = (of, unit, at) => of.levels[unit * T + ends[at]] / of.steps; // of a value, 0 to 1
  const signed = (x, digits) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
  const number = (x) => x.toFixed(value().high - value().low > 2 ? 2 : 3).replace("-", "−");
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const button = (onclick, ...children) => make("button", { type: "button", onclick }, ...children);

  /** The span of a character. */
  function cellOf(at) {
    const text = data.cells[at];
    const cell = make("span", { textContent: SIGNS[text] ?? text });
    cell.dataset.at = at;
    if (text in SIGNS) cell.className = "sign";
    else if (text.length > 1 && text.startsWith("\\")) cell.className = "code";
    return cell;
  }
  const cells = data.cells.map((_, at) => cellOf(at));
  $("text").append(...cells.flatMap((cell, at) => (data.cells[at] === "\n" ? [cell, "\n"] : [cell])));

  const bytesOf = (at) => data.bytes.slice(firstByte(at), ends[at] + 1);
  const byteName = (byte) => `0x${byte.toString(16).padStart(2, "0")}`;
  const cellName = (at) => ({ "\n": "↵", "\t": "⇥", " ": "␣" })[data.cells[at]] ?? data.cells[at];
  const textOf = (from, to) =>
    Array.from({ length: Math.max(0, to - from + 1) }, (_, n) => cellName(from + n).replace("␣", " ")).join("");
  /** The bits of each scored byte of a character. */
  const bitsOf = (at) => data.surprise.slice(Math.max(0, firstByte(at) - 1), ends[at]);
  const bitsAt = cells.map((_, at) => (at ? bitsOf(at).reduce((a, b) => a + b, 0) : 0));

  // --- drawing --------------------------------------------------------------------------------

  /** Tint a cell and draw its bar. share: 0 to 1. */
  function tint(cell, share, colour = share) {
    cell.style.backgroundColor = `rgb(${colours[Math.round(colour * 255)]})`;
    cell.style.backgroundSize = `100% ${(share * 6).toFixed(1)}px`;
  }

  function tintCharacter(cell, at, of, unit) {
    if (!selected.surprise) return tint(cell, position(of, unit, at));
    const share = Math.min(1, bitsAt[at] / MOST_BITS);
    tint(cell, share, 0.5 + share / 2);
  }

  function drawText() {
    cells.forEach((cell, at) => tintCharacter(cell, at, value(), selected.unit));
    const surprise = selected.surprise;
    document.querySelector(".legend").classList.toggle("half", surprise);
    $("low-end").textContent = surprise ? "0 bits" : number(value().low);
    $("high-end").textContent = surprise ? `${MOST_BITS} bits or more` : number(value().high);
    $("tinted-by").textContent = surprise ? "surprise" : `${value().name} of unit ${selected.unit}`;
    $("surprise").checked = surprise;
  }

  /** The units of the map's rows. */
  const rows = () => ($("order").value === "likeness" ? value().order : [...value().order.keys()]);

  function drawMap() {
    const canvas = $("map");
    canvas.width = C;
    canvas.height = layer().units;
    const image = new ImageData(C, layer().units);
    rows().forEach((unit, row) => {
      for (let at = 0; at < C; at++) {
        const i = (row * C + at) * 4;
        image.data.set(colours[Math.round(position(value(), unit, at) * 255)], i);
        image.data[i + 3] = 255;
      }
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  const across = (share) => 44 + share * 270; // the scatter's axes
  const up = (share) => 280 - share * 270;

  function drawScatter() {
    const { below, above } = value();
    const draw = (name, attributes, text) => {
      const element = document.createElementNS(SVG, name);
      for (const [key, content] of Object.entries(attributes)) element.setAttribute(key, content);
      if (text !== undefined) element.textContent = text;
      return element;
    };
    const parts = [draw("path", { class: "grid", d: `M${across(0)} ${up(1)}L${across(1)} ${up(0)}` })];
    parts.push(draw("path", { class: "axis", d: `M${across(0)} ${up(1)}V${up(0)}H${across(1)}` }));
    for (const share of [0, 0.5, 1]) {
      parts.push(draw("text", { x: across(share), y: up(0) + 15, "text-anchor": "middle" }, share));
      parts.push(draw("text", { x: across(0) - 6, y: up(share) + 4, "text-anchor": "end" }, share));
    }
    const left = `share of time below ${below[0]}`.replace("-", "−");
    parts.push(draw("text", { x: across(0.5), y: up(0) + 32, "text-anchor": "middle" },
      `share of time above ${above[0]}`));
    parts.push(draw("text", { transform: `translate(12 ${up(0.5)}) rotate(-90)`, "text-anchor": "middle" }, left));
    above[1].forEach((count, unit) => {
      parts.push(draw("circle", { cx: across(count / C), cy: up(below[1][unit] / C), r: 4 }));
    });
    parts.push(draw("circle", { class: "chosen", r: 6 })); // above all others
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
    const items = matches.slice(0, 10).map(([of, name, unit, correlation, at]) => {
      const item = button(() => show({ ...unitOf([of, name, unit]), at }),
        make("span", {}, `${name} of unit ${unit}, ${of}`), make("span", {}, signed(correlation, 3)));
      item.dataset.pick = JSON.stringify([of, name, unit]);
      return make("li", {}, item);
    });
    $("trackers").replaceChildren(...(items.length ? items : [make("li", {}, "none: the same at every character")]));
    $("by-chance").textContent = data.by_chance[$("property").value].toFixed(3);
    markTracker();
  }

  /** Mark the selected unit among finds, panels and trackers. */
  function markTracker() {
    const current = JSON.stringify([layer().name, value().name, selected.unit]);
    for (const tracker of document.querySelectorAll("#trackers button")) {
      tracker.setAttribute("aria-current", tracker.dataset.pick === current);
    }
    for (const find of document.querySelectorAll("#finds button, #panels button")) {
      find.setAttribute("aria-pressed", !selected.surprise && find.dataset.pick === current);
    }
  }

  function drawCross() {
    $("cross-unit").style.top = `${((rows().indexOf(selected.unit) + 0.5) / layer().units) * 100}%`;
    $("cross-place").style.left = `${((selected.at + 0.5) / C) * 100}%`;
  }

  function drawChosenUnit() {
    $("unit").max = layer().units - 1;
    $("unit").value = selected.unit;
    const { below, above, name, title } = value();
    const chosen = document.querySelector("#scatter .chosen");
    chosen.setAttribute("cx", across(above[1][selected.unit] / C));
    chosen.setAttribute("cy", up(below[1][selected.unit] / C));
    const percent = (count) => `${((count / C) * 100).toFixed(1)} %`;
    $("about").textContent =
      `${name}, ${title}. Unit ${selected.unit}: above ${above[0]} for ${percent(above[1][selected.unit])} of ` +
      `the time, below ${String(below[0]).replace("-", "−")} for ${percent(below[1][selected.unit])}.`;
    markTracker();
  }

  /** The surprise of a character, and of each of its bytes if there are several. */
  function surpriseOf(at) {
    if (!at) return "not scored (first character)";
    const bits = bitsOf(at);
    const parts = bits.length > 1 ? ` (${bits.map((b) => b.toFixed(2)).join(" + ")} of its bytes)` : "";
    return `${bitsAt[at].toFixed(2)} bits${parts}`;
  }

  function drawPlace() {
    const at = hovered ?? selected.at;
    const bytes = bytesOf(at).map(byteName);
    const lines = [
      `Character ${at + 1} of ${C}: ${cellName(at)} (${bytes.length > 1 ? `${bytes.length} bytes:` : "byte"} ${bytes.join(" ")})`,
      `${value().name} of unit ${selected.unit}: ${number(real(value(), selected.unit * T + ends[at]))}`,
      `Surprise: ${surpriseOf(at)}. Most likely next${data.ends ? " byte" : ""}:`,
    ];
    $("reading").replaceChildren(...lines.map((line) => make("p", { textContent: line })));
    $("reading").dataset.shown = [selected.layer, selected.value, selected.unit, at].join(".");
    const came = data.bytes[ends[at] + 1];
    $("likeliest").replaceChildren(...data.likeliest[at].map((symbol, k) =>
      likelyItem(data.names[symbol], data.probabilities[at][k], symbol === came)));
  }

  function chooseCell(before) {
    cells[before].classList.remove("chosen");
    cells[selected.at].classList.add("chosen");
  }

  /** Scroll the text, never the page, until the selected character is in view. centre: with the text
   *  around it. */
  function scrollText(centre) {
    const text = $("text");
    const { top, bottom, height } = text.getBoundingClientRect();
    const cell = cells[selected.at].getBoundingClientRect();
    if (centre) text.scrollTop += cell.top - top - height / 3;
    else if (cell.top < top) text.scrollTop -= top - cell.top + 40;
    else if (cell.bottom > bottom) text.scrollTop += cell.bottom - bottom + 40;
  }

  // --- several units at a time ----------------------------------------------------------------

  const BEFORE = 60; // characters of a panel before its place
  const PANEL = 200; // characters of a panel

  /** The first character of a panel: the beginning of a word, if there is one near. */
  function panelStart(place) {
    const from = Math.max(0, Math.min(place - BEFORE, C - PANEL));
    const isStart = (at) => at === 0 || /^\s$/.test(data.cells[at - 1]);
    const near = Array.from({ length: 12 }, (_, n) => from + n).find((at) => at < place && isStart(at));
    return near ?? from;
  }

  const unitTitle = (name, unit) => `${name} of unit ${unit}`;
  const panels = data.panels.map(([label, , of, name, unit, correlation, at]) => {
    const pick = { ...unitOf([of, name, unit]), at };
    const title = button(() => show($("follow").checked ? { ...pick, at: selected.at } : pick),
      make("span", {}, `${label} ${signed(correlation, 2)}`), make("small", {}, unitTitle(name, unit)));
    title.dataset.pick = JSON.stringify([of, name, unit]);
    const excerpt = make("div", { className: "excerpt mono" });
    $("panels").append(make("article", {}, make("h3", {}, title), excerpt));
    return { pick, excerpt };
  });

  function drawPanels() {
    for (const { pick, excerpt } of panels) {
      const of = data.layers[pick.layer].values[pick.value];
      const place = $("follow").checked ? selected.at : pick.at;
      const from = panelStart(place);
      const shown = Array.from({ length: Math.min(PANEL, C - from) }, (_, n) => {
        const cell = cellOf(from + n);
        cell.textContent = cell.textContent.trimEnd() || cell.textContent; // no tabs
        tint(cell, position(of, pick.unit, from + n));
        cell.classList.toggle("chosen", $("follow").checked && from + n === selected.at);
        return cell;
      });
      excerpt.replaceChildren(...shown);
    }
  }

  // --- stretches ------------------------------------------------------------------------------

  const MATCHES = 10;
  const AROUND = 16; // characters shown beside a match

  function setStretch(to) {
    if (stretch) for (let at = stretch[0]; at <= stretch[1]; at++) cells[at].classList.remove("stretch");
    stretch = to && to[1] > to[0] ? to : null;
    if (stretch) for (let at = stretch[0]; at <= stretch[1]; at++) cells[at].classList.add("stretch");
    drawAlike();
  }

  function drawAlike() {
    $("standing-out").replaceChildren();
    $("matches").replaceChildren();
    if (!stretch) {
      $("alike-about").textContent = "Select two or more characters of the text: drag over them, or press " +
        "Shift with an arrow key.";
      return;
    }
    const one = value();
    one.sums ??= runningSums(one, layer().units, ends, T);
    const chosen = unitsThatStandOut(one.sums, C, layer().units, ...stretch);
    $("alike-about").textContent =
      `In “${textOf(...stretch)}”, these units of ${one.name} are farthest from their mean over the text, in ` +
      `standard deviations. The list has the stretches where their means are most alike (1 if they are equal).`;
    $("standing-out").append(...chosen.map(([unit, mean]) =>
      button(() => pick({ unit }), `unit ${unit} ${signed(mean, 1)}`)));
    const found = stretchesAlike(one.sums, C, chosen, ...stretch, MATCHES);
    $("matches").append(...found.map(({ from, to, likeness }) => {
      const around = (a, b) => make("span", { className: "around" }, textOf(Math.max(0, a), Math.min(C - 1, b)));
      const text = make("span", { className: "mono" }, around(from - AROUND, from - 1),
        make("strong", {}, textOf(from, to)), around(to + 1, to + AROUND));
      return make("li", {}, button(() => show({ at: from }), text, make("span", {}, likeness.toFixed(2))));
    }));
  }

  /** The characters selected with the mouse or by touch. */
  function takeStretch() {
    const selection = getSelection();
    if (!selection.rangeCount || selection.isCollapsed) return;
    const range = selection.getRangeAt(0);
    if (!$("text").contains(range.commonAncestorContainer)) return;
    const inside = cells.filter((cell) => range.intersectsNode(cell.firstChild));
    if (inside[0]?.firstChild === range.startContainer && range.startOffset >= inside[0].firstChild.length) {
      inside.shift();
    }
    if (inside.at(-1)?.firstChild === range.endContainer && !range.endOffset) inside.pop();
    if (inside.length < 2) return;
    const [from, to] = [inside[0], inside.at(-1)].map((cell) => Number(cell.dataset.at));
    pick({ at: from });
    setStretch([from, to]);
  }

  // --- selection ------------------------------------------------------------------------------

  const within = (x, size) => Math.min(size - 1, Math.max(0, x));

  function options(select, all) {
    select.replaceChildren(...all.map(([text, name]) => new Option(text, name)));
  }

  /** Change part of the selection and redraw the parts of the page that depend on it. */
  function pick(change, all = false) {
    const old = { ...selected };
    Object.assign(selected, change);
    if (all || selected.layer !== old.layer) {
      $("layer").selectedIndex = selected.layer;
      options($("value"), layer().values.map(({ name, title }) => [`${name}: ${title.split(/[:,;]/)[0]}`, name]));
    }
    selected.value = within(selected.value, layer().values.length);
    selected.unit = within(selected.unit, layer().units);
    selected.at = within(selected.at, C);
    $("value").selectedIndex = selected.value;
    const whole = all || selected.layer !== old.layer || selected.value !== old.value;
    if (whole) {
      drawMap();
      drawScatter();
      drawTrackers();
      drawAlike();
    }
    if (whole || selected.unit !== old.unit || selected.surprise !== old.surprise) {
      drawText();
      drawChosenUnit();
    }
    chooseCell(old.at);
    if (all || selected.at !== old.at) {
      scrollText(all);
      if (all || $("follow").checked) drawPanels();
    }
    drawCross();
    drawPlace();
    saveSelection();
  }

  /** Select a unit and bring the text into view at its place. */
  function show(change) {
    pick({ ...change, surprise: false });
    scrollText(true);
    $("text").scrollIntoView({ block: "nearest" });
  }

  /** The selection that shows a tracker. */
  function unitOf([of, name, unit]) {
    const at = data.layers.findIndex((one) => one.name === of);
    return { layer: at, value: data.layers[at].values.findIndex((one) => one.name === name), unit };
  }

  /** Store the selection in the address, so that it can be shared as a link: at once, because the
   *  old address, typed again, would be no change; but not more often than browsers allow. */
  function saveSelection() {
    clearTimeout(saveTimer);
    const wait = savedAt + SAVE_EVERY - performance.now();
    if (wait > 0) {
      saveTimer = setTimeout(saveSelection, wait);
      return;
    }
    savedAt = performance.now();
    const { layer: l, value: v, unit, at, surprise } = selected;
    history.replaceState(null, "", `#${[l, v, unit, at].join(".")}${surprise ? ".surprise" : ""}`);
  }

  /** The selection in an address, or else the first find. */
  function addressed(hash) {
    const match = hash.match(/^#(\d+)\.(\d+)\.(\d+)\.(\d+)(\.surprise)?$/);
    if (!match) {
      const [find] = data.finds;
      return find ? { ...unitOf(find.slice(2, 5)), at: find[6] } : {};
    }
    const [l, v, unit, at] = match.slice(1, 5).map(Number);
    return { layer: within(l, data.layers.length), value: v, unit, at, surprise: Boolean(match[5]) };
  }

  const KEYS = {
    ArrowLeft: () => ({ at: selected.at - 1 }),
    ArrowRight: () => ({ at: selected.at + 1 }),
    PageUp: () => ({ at: selected.at - 50 }),
    PageDown: () => ({ at: selected.at + 50 }),
    Home: () => ({ at: 0 }),
    End: () => ({ at: C - 1 }),
    ArrowUp: (order) => ({ unit: order[order.indexOf(selected.unit) - 1] ?? selected.unit }),
    ArrowDown: (order) => ({ unit: order[order.indexOf(selected.unit) + 1] ?? selected.unit }),
    g: () => ({ value: (selected.value + 1) % layer().values.length }),
    l: () => ({ layer: (selected.layer + 1) % data.layers.length }),
    s: () => ({ surprise: !selected.surprise }),
  };

  /** Extend the stretch to the selected character. before: the one selected before. */
  function extendStretch(before) {
    const anchor = stretch?.includes(before) ? stretch[stretch[0] === before ? 1 : 0] : before;
    setStretch([Math.min(anchor, selected.at), Math.max(anchor, selected.at)]);
  }

  if (!("DecompressionStream" in window)) {
    $("reading").textContent = "This browser is too old to unpack the values; use one from 2023 or later.";
    return;
  }
  $("reading").textContent = "Unpacking …";
  for (const one of data.layers) await unpack(one, T);
  colours = ramp();

  // --- events, once there are values ------------------------------------------------------------

  for (const element of document.querySelectorAll(".keys")) {
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") setStretch(null);
      const change = KEYS[event.key];
      if (!change || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      hovered = null;
      const before = selected.at;
      pick(change(element.id === "map" ? rows() : [...value().order.keys()]));
      if (event.shiftKey && selected.at !== before) extendStretch(before);
    });
  }

  const placeOf = (event) => event.target.closest("#text span")?.dataset.at;
  $("text").addEventListener("click", (event) => {
    const at = placeOf(event);
    if (at === undefined || !getSelection().isCollapsed) return; // the end of a drag
    setStretch(null);
    pick({ at: Number(at) });
  });
  document.addEventListener("selectionchange", () => {
    clearTimeout(stretchTimer);
    stretchTimer = setTimeout(takeStretch, 150);
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

  /** The unit and the character of the map at the pointer. */
  function mapPlace(event) {
    const box = $("map").getBoundingClientRect();
    const row = within(Math.floor(((event.clientY - box.top) / box.height) * layer().units), layer().units);
    return { unit: rows()[row], at: within(Math.floor(((event.clientX - box.left) / box.width) * C), C) };
  }
  // A click has rounded coordinates, and a row may be lower than a pixel.
  let pointed = null;
  $("map").addEventListener("pointerdown", (event) => (pointed = mapPlace(event)));
  $("map").addEventListener("click", () => pick(pointed));
  $("map").addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    const { unit, at } = mapPlace(event);
    const readout = $("map-readout");
    readout.textContent = `${unitTitle(value().name, unit)}: ${number(real(value(), unit * T + ends[at]))}\n` +
      `character ${at + 1}: ${textOf(Math.max(0, at - 12), at - 1)}[${textOf(at, at)}]${textOf(at + 1, Math.min(C - 1, at + 12))}`;
    readout.hidden = false;
    const frame = $("map-frame").getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    readout.style.left = `${Math.max(0, Math.min(x + 14, frame.width - readout.offsetWidth - 4))}px`;
    readout.style.top = `${y + 14 + readout.offsetHeight > frame.height ? y - readout.offsetHeight - 10 : y + 14}px`;
  });
  $("map").addEventListener("pointerleave", () => ($("map-readout").hidden = true));

  $("scatter").addEventListener("click", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform($("scatter").getScreenCTM().inverse());
    const { below, above } = value();
    const far = above[1].map((count, unit) =>
      Math.hypot(across(count / C) - at.x, up(below[1][unit] / C) - at.y));
    pick({ unit: far.indexOf(Math.min(...far)) });
  });
  $("layer").addEventListener("change", () => pick({ layer: $("layer").selectedIndex }));
  $("value").addEventListener("change", () => pick({ value: $("value").selectedIndex }));
  $("surprise").addEventListener("change", () => pick({ surprise: $("surprise").checked }));
  $("unit").addEventListener("input", () => {
    if ($("unit").value !== "") pick({ unit: Math.round(Number($("unit").value)) });
  });
  $("previous").addEventListener("click", () => pick({ unit: selected.unit - 1 }));
  $("next").addEventListener("click", () => pick({ unit: selected.unit + 1 }));
  $("property").addEventListener("change", drawTrackers);
  $("only").addEventListener("change", drawTrackers);
  $("follow").addEventListener("change", drawPanels);
  $("order").addEventListener("change", () => {
    drawMap();
    drawCross();
  });
  // Use the event's address: saveSelection() may have changed location since.
  addEventListener("hashchange", (event) => pick(addressed(new URL(event.newURL).hash)));
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("themechange", () => {
    colours = ramp();
    drawText();
    drawMap();
    drawPanels();
  });

  options($("layer"), data.layers.map((one) => [one.name]));
  $("layer-label").classList.toggle("single", data.layers.length === 1);
  for (const [label, property, of, name, unit, correlation, at] of data.finds) {
    const chip = button(() => {
      $("property").value = property;
      drawTrackers();
      show({ ...unitOf([of, name, unit]), at });
    }, `${label} ${signed(correlation, 2)}`);
    chip.dataset.pick = JSON.stringify([of, name, unit]);
    chip.title = `${property}: ${unitTitle(name, unit)}, ${of}; chance ${data.by_chance[property].toFixed(2)}`;
    $("finds").append(chip);
  }
  $("several").hidden = !panels.length;
  if (data.finds.length) $("property").value = data.finds[0][1];
  pick(addressed(location.hash), true);
  $("text").focus({ preventScroll: true }); // so that keys work immediately
  document.body.dataset.ready = "true";
})();
