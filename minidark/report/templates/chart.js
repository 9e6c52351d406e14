"use strict";
// Charts: lines with the values at the pointer, a logarithmic scale, smoothing, and choices of the
// axes. The data are those of `report/charts.py`. What the reader chooses is stored for this page, so
// that it survives a reload.

/** The reader's choices on this page, as far as the browser stores them. */
const choices = {
  name: `minidark:${location.pathname}`,
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(this.name)) ?? {};
    } catch {
      return {};
    }
  },
  get(key, otherwise) {
    return this.read()[key] ?? otherwise;
  },
  set(key, value) {
    try {
      sessionStorage.setItem(this.name, JSON.stringify({ ...this.read(), [key]: value }));
    } catch {
      // the choice then lasts until the page is reloaded
    }
  },
};

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "6 3", "2 3"];
const MARGIN = { right: 16, top: 10, bottom: 36 };
const LETTER = 7; // pixels of a digit, about
const SMOOTHEST = 0.98;

function shape(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent?.append(made);
  return made;
}

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

/** A number with `digits` decimals; a very large or small one in powers of ten. */
function numeral(value, digits) {
  const size = Math.abs(value);
  if (size >= 1e7 || (size > 0 && size < 1e-3)) return value.toExponential(size >= 1e15 ? 1 : 2).replace("e+", "e");
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A value with four significant digits. */
function readable(value) {
  const whole = Number.isInteger(value) && Math.abs(value) < 1e7;
  const digits = whole ? 0 : Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value) || 1))));
  return numeral(value, digits);
}

/** A power of ten, as short as possible. */
function brief(value) {
  return value >= 1e-3 && value < 1e7 ? value.toLocaleString("en-US") : value.toExponential(0).replace("e+", "e");
}

/** Evenly spaced round numbers from low to high, about `most` at most, two if possible; their common decimals. */
function ticks(low, high, most, whole = false) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [0.5, 1, 2, 5, 10].map((k) => k * power);
  const chosen = steps.findIndex((k, n) => n && k >= rough);
  const count = (size) => Math.floor(high / size + 1e-9) - Math.ceil(low / size - 1e-9) + 1;
  let step = count(steps[chosen]) < 2 ? steps[chosen - 1] : steps[chosen];
  if (whole) step = Math.max(1, step);
  if (!(step > 0) || !Number.isFinite(step)) return { at: [low], digits: 3 };
  const first = Math.ceil(low / step - 1e-9);
  const at = [];
  for (let k = first; k * step <= high + step * 1e-9 && at.length <= most; k++) at.push(k * step + 0); // without -0
  return { at, digits: Math.min(8, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))) };
}

/** Powers of ten between low and high; round numbers if there are fewer than two powers. */
function logTicks(low, high, most) {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (to - from < 1) return ticks(low, high, most);
  const every = Math.ceil((to - from + 1) / most);
  const at = [];
  for (let k = from; k <= to; k += every) at.push(10 ** k);
  return { at, digits: null };
}

/** An exponential moving average with this weight of the past, without the bias of its beginning. */
function smoothed(values, weight) {
  let [sum, total] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

class Chart {
  constructor(figure, data, number) {
    Object.assign(this, { figure, data, key: `chart${number}` });
    this.state = { log: data.log, smoothing: 0, x: 0, y: 0, ...choices.get(this.key, {}) };
    this.state.x = Math.min(this.state.x, data.x.length - 1);
    this.state.y = Math.min(this.state.y, data.y.length - 1);
    this.small = figure.classList.contains("small");
    this.svg = shape("svg", { class: "figure", role: "img", tabindex: 0, "aria-label": data.label });
    this.keys = element("ul", { className: "keys" });
    figure.prepend(this.svg, this.keys);
    const tools = this.tools();
    if (tools.childElementCount) figure.prepend(tools);
    this.svg.addEventListener("pointermove", (event) => this.point(event.clientX));
    this.svg.addEventListener("pointerdown", (event) => this.point(event.clientX));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("keydown", (event) => this.step(event));
    this.svg.addEventListener("blur", () => this.leave());
    new ResizeObserver(() => this.draw()).observe(figure);
    this.draw();
  }

  /** The switches above the chart. */
  tools() {
    const { data, state } = this;
    const box = element("div", { className: "tools" });
    const choice = (legend, name, names) => {
      if (names.length < 2) return;
      const set = element("fieldset", {}, element("legend", { textContent: legend }));
      names.forEach((text, k) => {
        const input = element("input", { type: "radio", name: `${this.key}-${name}`, checked: state[name] === k });
        input.addEventListener("change", () => this.change({ [name]: k }));
        set.append(element("label", {}, input, text));
      });
      box.append(set);
    };
    choice("Show", "y", data.kinds);
    choice("by", "x", data.x);
    if (data.tools) {
      const log = element("input", { type: "checkbox", checked: state.log });
      log.addEventListener("change", () => this.change({ log: log.checked }));
      const smoothing = element("input", { type: "range", min: 0, max: SMOOTHEST, step: 0.01, value: state.smoothing });
      smoothing.addEventListener("input", () => this.change({ smoothing: Number(smoothing.value) }));
      box.append(element("label", {}, log, "Logarithmic"), element("label", {}, "Smoothing", smoothing));
    }
    return box;
  }

  change(choice) {
    Object.assign(this.state, choice);
    choices.set(this.key, this.state);
    this.draw();
  }

  /** The lines of the chosen axes, with what is drawn of them. */
  shown() {
    const { x, y, smoothing, log } = this.state;
    const lines = this.data.lines.filter((line) => line.kind === null || line.kind === y);
    return lines.map((line) => {
      const soft = smoothing > 0 && line.smooth;
      const usable = (values) => values.map((v) => (v === null || (log && v <= 0) ? null : v));
      return { ...line, at: line.x[x], raw: usable(line.y), drawn: usable(soft ? smoothed(line.y, smoothing) : line.y), soft };
    });
  }

  draw() {
    const width = Math.max(200, this.figure.clientWidth);
    const height = Math.round(this.small ? Math.min(190, width * 0.62) : Math.min(340, Math.max(230, width * 0.5)));
    this.lines = this.shown();
    this.known = null; // of `places`
    this.scale(width, height);
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.axes(width, height);
    if (this.state.x === 0)
      for (const at of this.data.marks) this.upright(at, "mark");
    for (const line of this.lines) {
      if (line.soft) this.path(line, line.raw, "line faint");
      this.path(line, line.drawn, "line");
      const single = line.drawn.filter((value) => value !== null).length === 1; // no path shows it
      if (line.dots || single) this.dots(line);
    }
    this.chosenMark = this.chosen === undefined ? null : this.upright(this.chosen, "chosen");
    this.here = shape("line", { class: "here", visibility: "hidden" }, this.svg);
    this.legend();
  }

  scale(width, height) {
    const spread = (values) => {
      let [low, high] = [Infinity, -Infinity];
      for (const value of values) if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
      if (low > high) return [0, 1];
      const pad = low === high ? Math.abs(low) * 0.1 || 1 : 0;
      return [low - pad, high + pad];
    };
    const { log } = this.state;
    const [left, right] = spread(this.lines.flatMap((line) => line.at));
    let [low, high] = spread(this.lines.flatMap((line) => (line.soft ? [...line.raw, ...line.drawn] : line.drawn)));
    if (this.data.zero && low > 0) low = 0;
    this.range = { left, right, low, high };
    const most = height < 200 ? 4 : 8;
    const marks = log && low > 0 ? logTicks(low, high, most) : ticks(low, high, most);
    this.marks = marks.at.map((at) => [at, marks.digits === null ? brief(at) : numeral(at, marks.digits)]);
    this.left = 30 + LETTER * Math.max(1, ...this.marks.map(([, text]) => text.length));
    const inner = { width: width - this.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    this.px = (x) => this.left + ((x - left) / (right - left)) * inner.width;
    const share = log && low > 0
      ? (y) => (Math.log(y) - Math.log(low)) / (Math.log(high) - Math.log(low))
      : (y) => (y - low) / (high - low);
    this.py = (y) => MARGIN.top + (1 - share(y)) * inner.height;
    this.bottom = height - MARGIN.bottom;
  }

  axes(width, height) {
    const { left, right } = this.range;
    for (const [at, label] of this.marks) {
      const y = this.py(at);
      shape("line", { class: "grid", x1: this.left, x2: width - MARGIN.right, y1: y, y2: y }, this.svg);
      const text = shape("text", { class: "y", x: this.left - 6, y: y + 4, "text-anchor": "end" }, this.svg);
      text.textContent = label;
    }
    const along = ticks(left, right, width < 420 ? 4 : 6, this.state.x === 0 && this.data.whole);
    for (const at of along.at) {
      const text = shape("text", { class: "x", y: this.bottom + 15 }, this.svg);
      text.textContent = numeral(at, along.digits);
      const half = (text.textContent.length * LETTER) / 2;
      text.setAttribute("x", Math.min(this.px(at), width - half)); // the last one ends at the edge
      text.setAttribute("text-anchor", "middle");
    }
    const middle = (this.left + width - MARGIN.right) / 2;
    shape("text", { x: middle, y: height - 5, "text-anchor": "middle" }, this.svg).textContent = this.data.x[this.state.x];
    const name = shape("text", { transform: `rotate(-90 12 ${this.bottom / 2})`, x: 12, y: this.bottom / 2 + 4, "text-anchor": "middle" }, this.svg);
    name.textContent = this.data.y[this.state.y];
  }

  path(line, values, kind) {
    let pen = "M";
    const steps = [];
    values.forEach((value, k) => {
      if (value === null) {
        pen = "M";
        return;
      }
      steps.push(`${pen}${this.px(line.at[k]).toFixed(2)} ${this.py(value).toFixed(2)}`);
      pen = "L";
    });
    const style = `stroke: var(--series-${line.colour}); stroke-dasharray: ${DASHES[line.dash] || "none"}`;
    shape("path", { class: kind, d: steps.join(""), style }, this.svg);
  }

  dots(line) {
    line.drawn.forEach((value, k) => {
      if (value === null) return;
      const place = { cx: this.px(line.at[k]), cy: this.py(value), r: 3 };
      shape("circle", { ...place, style: `fill: var(--series-${line.colour})` }, this.svg);
    });
  }

  upright(at, kind) {
    const x = this.px(at);
    return shape("line", { class: kind, x1: x, x2: x, y1: MARGIN.top, y2: this.bottom }, this.svg);
  }

  /** The legend, with each line's value at `at`, or its last one. */
  legend(at) {
    const items = this.lines.map((line) => {
      const key = shape("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" });
      const style = `stroke: var(--series-${line.colour}); stroke-width: 3; stroke-dasharray: ${DASHES[line.dash] || "none"}`;
      shape("path", { d: "M0 5H24", style }, key);
      const found = at === undefined ? null : nearest(line, at);
      const value = element("b", { textContent: found === null ? "" : readable(line.drawn[found]) });
      return element("li", {}, key, line.name, value);
    });
    if (at !== undefined) {
      const value = `${this.data.x[this.state.x]} ${readable(at)}`;
      items.unshift(element("li", { className: "at", textContent: value }));
    }
    this.keys.replaceChildren(...items);
  }

  /** Every x of the shown lines, in order. */
  places() {
    this.known ??= [...new Set(this.lines.flatMap((line) => line.at.filter((_, k) => line.drawn[k] !== null)))].sort((a, b) => a - b);
    return this.known;
  }

  point(clientX) {
    const box = this.svg.getBoundingClientRect();
    const { left, right } = this.range;
    const wide = this.px(right) - this.px(left);
    const wanted = left + ((clientX - box.left - this.left) / wide) * (right - left);
    const places = this.places();
    if (places.length) this.show(places.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a)));
  }

  show(at) {
    this.at = at;
    const x = this.px(at);
    for (const [key, value] of Object.entries({ x1: x, x2: x, y1: MARGIN.top, y2: this.bottom, visibility: "visible" }))
      this.here.setAttribute(key, value);
    this.legend(at);
  }

  leave() {
    this.at = undefined;
    this.here.setAttribute("visibility", "hidden");
    this.legend();
  }

  step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const places = this.places();
    const from = this.at === undefined ? places.length - 1 : places.indexOf(this.at);
    const begins = this.at === undefined && Number.isFinite(move); // at the last place
    const to = begins ? from : Math.min(places.length - 1, Math.max(0, from + move));
    if (places.length) this.show(places[to]);
  }

  /** Mark a place until another one is chosen. */
  choose(at) {
    this.chosen = at;
    this.chosenMark?.remove();
    this.chosenMark = this.upright(at, "chosen");
  }
}

/** The index of the line's point at `at`, or of the last one before it; null if there is none. */
function nearest(line, at) {
  let found = null;
  line.at.forEach((x, k) => {
    if (x <= at && line.drawn[k] !== null) found = k;
  });
  return found;
}

const charts = [...document.querySelectorAll(".chart")].map((figure, number) => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  return new Chart(figure, data[number], number);
});

// Tables that are wider than the page say that they scroll.
for (const box of document.querySelectorAll(".wide")) {
  const hint = element("p", { className: "hint", hidden: true, textContent: "The table is wider: scroll it sideways →" });
  box.before(hint);
  new ResizeObserver(() => (hint.hidden = box.scrollWidth <= box.clientWidth + 1)).observe(box);
}

for (const [number, box] of document.querySelectorAll("details").entries()) {
  box.open = choices.get(`details${number}`, box.open);
  box.addEventListener("toggle", () => choices.set(`details${number}`, box.open));
}
