"use strict";
// Runs a network from minidark/report/network_packing.py, one symbol at a time.

const ROWS = 8; // computed together, which is the fastest

/** A buffer that `Affine.add` may write: the last block of rows may be incomplete. */
const buffer = (length) => new Float64Array(length + ROWS);

const INTEGERS = { 8: Int8Array, 16: Int16Array };

/** Numbers of packed_numbers(): all first bytes, then all second bytes, ... */
async function numbers(packed, Kind = Float32Array) {
  const planes = await inflated(packed);
  const size = Kind.BYTES_PER_ELEMENT;
  const count = planes.length / size;
  const bytes = new Uint8Array(planes.length);
  for (let k = 0; k < size; k++) {
    for (let i = 0; i < count; i++) bytes[i * size + k] = planes[k * count + i];
  }
  return new Kind(bytes.buffer);
}

/** W x + b. A matrix that reads symbols is stored by columns, others in blocks of ROWS rows. */
class Affine {
  static async unpacked(packed, readsSymbols) {
    const stored = await numbers(packed.weights, INTEGERS[packed.bits]);
    const scales = packed.scales && (await numbers(packed.scales));
    return new Affine(packed, stored, scales, await numbers(packed.biases), readsSymbols);
  }

  constructor({ rows, columns }, stored, scales, biases, readsSymbols) {
    Object.assign(this, { rows, columns, biases });
    const blocks = Math.ceil(rows / ROWS);
    this.weights = new Float32Array(readsSymbols ? rows * columns : blocks * ROWS * columns);
    for (let r = 0; r < rows; r++) {
      const scale = scales ? scales[r] : 1;
      const [start, stride] = readsSymbols
        ? [r, rows]
        : [(r - (r % ROWS)) * columns + (r % ROWS), ROWS];
      for (let c = 0; c < columns; c++) this.weights[start + c * stride] = stored[r * columns + c] * scale;
    }
  }

  /** y += W x. x: a symbol's number, or a vector; y: from `buffer`. */
  add(x, y) {
    if (typeof x === "number") {
      const start = x * this.rows;
      for (let r = 0; r < this.rows; r++) y[r] += this.weights[start + r];
      return;
    }
    const { weights, rows, columns } = this;
    for (let r = 0, at = 0; r < rows; r += ROWS) {
      let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
      for (let i = 0; i < columns; i++, at += ROWS) {
        const v = x[i];
        a += weights[at] * v;
        b += weights[at + 1] * v;
        c += weights[at + 2] * v;
        d += weights[at + 3] * v;
        e += weights[at + 4] * v;
        f += weights[at + 5] * v;
        g += weights[at + 6] * v;
        h += weights[at + 7] * v;
      }
      y[r] += a; y[r + 1] += b; y[r + 2] += c; y[r + 3] += d;
      y[r + 4] += e; y[r + 5] += f; y[r + 6] += g; y[r + 7] += h;
    }
  }
}

const logistic = (x) => 1 / (1 + Math.exp(-x));
const between = (x, low, high) => Math.min(high, Math.max(low, x));
const expBelow = (x) => Math.expm1(Math.min(x, 0));

/** darknet's activations, as in minidark/layers/activations.py. */
const ACTIVATIONS = {
  logistic,
  loggy: (x) => Math.tanh(x / 2),
  relu: (x) => Math.max(x, 0),
  elu: (x) => Math.max(x, 0) + expBelow(x),
  selu: (x) => 1.0507 * (Math.max(x, 0) + 1.6732 * expBelow(x)),
  relie: (x) => (x > 0 ? x : 0.01 * x),
  ramp: (x) => (x > 0 ? 1.1 * x : 0.1 * x),
  linear: (x) => x,
  tanh: Math.tanh,
  plse: (x) => {
    if (x > 4) return 0.01 * (x - 4) + 1;
    return x < -4 ? 0.01 * (x + 4) : 0.125 * x + 0.5;
  },
  leaky: (x) => (x > 0 ? x : 0.1 * x),
  stair: (x) => {
    const whole = Math.floor(x);
    return Math.floor(x / 2) + (whole % 2 === 0 ? 0 : x - whole);
  },
  hardtan: (x) => between(x, -1, 1),
  lhtan: (x) => between(x, 0, 1) + 0.001 * (x - between(x, 0, 1)),
};

/** p = exp(x / temperature) / sum over x[from .. from + size - 1]. */
function softmax(x, p, temperature, size, from = 0) {
  let largest = -Infinity;
  for (let i = from; i < from + size; i++) largest = Math.max(largest, x[i]);
  let sum = 0;
  for (let i = from; i < from + size; i++) sum += p[i] = Math.exp((x[i] - largest) / temperature);
  for (let i = from; i < from + size; i++) p[i] /= sum;
}

function elementwise({ outputs }, f) {
  const y = buffer(outputs);
  const step = (x) => {
    for (let i = 0; i < outputs; i++) y[i] = f(x[i], i);
    return y;
  };
  return { step };
}

function addAll(y, biases, at = 0) {
  for (let i = 0; i < biases.length; i++) y[at + i] += biases[i];
}

/** Starts of the parts of a buffer with H numbers each, as arrays that end with the buffer. */
const parts = (packed, H, count) => Array.from({ length: count }, (_, k) => packed.subarray(k * H));

function gru({ outputs: H, tanh, reset_after: resetAfter }, [u, ...w]) {
  const act = tanh ? Math.tanh : logistic;
  const h = buffer(H);
  const gates = buffer(3 * H);
  const [z, r, c] = parts(gates, H, 3);
  const inner = buffer(resetAfter ? 3 * H : H); // r h, or the products with the state
  const resetThenMultiply = () => {
    addAll(gates, w[0].biases);
    addAll(c, w[1].biases);
    w[0].add(h, gates);
    for (let i = 0; i < H; i++) {
      z[i] = logistic(z[i]);
      r[i] = logistic(r[i]);
      inner[i] = r[i] * h[i];
    }
    w[1].add(inner, c);
    for (let i = 0; i < H; i++) c[i] = act(c[i]);
  };
  const multiplyThenReset = () => {
    inner.set(w[0].biases);
    w[0].add(h, inner);
    for (let i = 0; i < H; i++) {
      z[i] = logistic(z[i] + inner[i]);
      r[i] = logistic(r[i] + inner[H + i]);
      c[i] = act(c[i] + r[i] * inner[2 * H + i]);
    }
  };
  const finish = resetAfter ? multiplyThenReset : resetThenMultiply;
  const step = (x) => {
    gates.set(u.biases);
    u.add(x, gates);
    finish();
    for (let i = 0; i < H; i++) h[i] = z[i] * h[i] + (1 - z[i]) * c[i];
    return h;
  };
  return { step, values: { z, r, c, h }, states: ["h"] };
}

function lstm({ outputs: H }, [u, w]) {
  const [h, c] = [buffer(H), buffer(H)];
  const gates = buffer(4 * H);
  const [i, f, o, g] = parts(gates, H, 4);
  const step = (x) => {
    gates.set(u.biases);
    addAll(gates, w.biases);
    u.add(x, gates);
    w.add(h, gates);
    for (let k = 0; k < H; k++) {
      i[k] = logistic(i[k]);
      f[k] = logistic(f[k]);
      o[k] = logistic(o[k]);
      g[k] = Math.tanh(g[k]);
      c[k] = f[k] * c[k] + i[k] * g[k];
      h[k] = o[k] * Math.tanh(c[k]);
    }
    return h;
  };
  return { step, values: { i, f, o, g, c, h }, states: ["c", "h"] };
}

function rnn(layer, [fromInput, fromSelf, fromState]) {
  const { hidden, outputs, shortcut, elman } = layer;
  const act = ACTIVATIONS[layer.activation];
  const selfAct = ACTIVATIONS[layer.self_activation];
  const s = buffer(hidden);
  const [input, self, y] = [buffer(hidden), buffer(hidden), buffer(outputs)];
  const step = (x) => {
    input.set(fromInput.biases);
    self.set(fromSelf.biases);
    fromInput.add(x, input);
    fromSelf.add(s, self);
    if (elman) {
      for (let i = 0; i < hidden; i++) s[i] = act(input[i] + self[i]);
      return s;
    }
    for (let i = 0; i < hidden; i++) {
      input[i] = act(input[i]);
      self[i] = selfAct(self[i]);
      s[i] = input[i] + self[i] + (shortcut ? s[i] : 0);
    }
    y.set(fromState.biases);
    fromState.add(s, y);
    for (let i = 0; i < outputs; i++) y[i] = act(y[i]);
    return y;
  };
  return { step, values: elman ? { s } : { input, self, s }, states: ["s"] };
}

function connected({ outputs, activation }, [affine]) {
  const y = buffer(outputs);
  const act = ACTIVATIONS[activation];
  const step = (x) => {
    y.set(affine.biases);
    affine.add(x, y);
    for (let i = 0; i < outputs; i++) y[i] = act(y[i]);
    return y;
  };
  return { step };
}

function softmaxLayer({ outputs, groups, temperature }) {
  const p = buffer(outputs);
  const size = outputs / groups;
  const step = (x) => {
    for (let k = 0; k < groups; k++) softmax(x, p, temperature, size, k * size);
    return p;
  };
  return { step };
}

const activation = (layer) => elementwise(layer, ACTIVATIONS[layer.activation]);

/** A function per layer type: from a layer and its affines to a new stream of it, with zero state.
 *  `step` reads a vector or a symbol. `values`: gates and states after the step, by name. `states`:
 *  the names of those that the next step needs. */
const LAYERS = {
  gru,
  lstm,
  rnn,
  connected,
  activation,
  logistic: activation,
  batchnorm: (layer) => elementwise(layer, (x, i) => layer.factors[i] * x + layer.shifts[i]),
  softmax: softmaxLayer,
};

/** A network with its weights unpacked. `start` begins a stream. */
class Network {
  static async unpacked(layers) {
    const affines = [];
    for (const [n, layer] of layers.entries()) {
      affines.push([]);
      // Only the first array of the first layer reads symbols.
      for (const [k, packed] of layer.affines.entries()) {
        affines[n].push(await Affine.unpacked(packed, n === 0 && k === 0));
      }
      if (layer.factor) {
        layer.factors = await numbers(layer.factor);
        layer.shifts = await numbers(layer.shift);
      }
    }
    return new Network(layers, affines);
  }

  constructor(layers, affines) {
    this.layers = layers;
    this.affines = affines;
    [this.first, this.head] = [layers[0], layers.at(-1)];
  }

  start() {
    const cells = this.layers.slice(0, -1).map((layer, n) => LAYERS[layer.type](layer, this.affines[n]));
    return new Stream(this, cells);
  }
}

/** One stream of a network. The head, a softmax, is computed by `probabilities`. */
class Stream {
  constructor({ layers, first, head }, cells) {
    this.cells = cells;
    this.outputs = head.outputs;
    this.temperature = head.temperature;
    this.oneHot = first.affines.length ? null : new Float64Array(first.inputs);
    this.p = new Float64Array(this.outputs);
    this.values = cells.flatMap((cell, n) =>
      Object.entries(cell.values ?? {}).map(([name, array]) => ({
        array: array.subarray(0, layers[n].type === "rnn" ? layers[n].hidden : layers[n].outputs),
        carried: cell.states.includes(name),
      })));
    this.width = this.values.reduce((sum, { array }) => sum + array.length, 0);
  }

  reset() {
    for (const { array } of this.values) array.fill(0);
  }

  step(symbol) {
    let x = symbol;
    if (this.oneHot) {
      x = this.oneHot.fill(0);
      x[symbol] = 1;
    }
    for (const cell of this.cells) x = cell.step(x);
    this.logits = x;
  }

  /** The probabilities of the next symbol, which the next call overwrites. */
  probabilities(temperature = this.temperature) {
    softmax(this.logits, this.p, temperature, this.outputs);
    return this.p;
  }

  /** Write all values into a row of `width` numbers. */
  save(row) {
    let at = 0;
    for (const { array } of this.values) {
      row.set(array, at);
      at += array.length;
    }
  }

  /** Continue from a saved row. The next step computes the logits. */
  load(row) {
    let at = 0;
    for (const { array, carried } of this.values) {
      if (carried) array.set(row.subarray(at, at + array.length));
      at += array.length;
    }
  }
}

// --- drawing symbols --------------------------------------------------------------------------

const LEAST = 1e-4; // smaller probabilities are never drawn, as in `minidark generate`

/** A number from 0 to 1 for draw number `at` of a random seed. */
function uniform(seed, at) {
  let h = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(at + 1, 0x85ebca77)) >>> 0;
  for (const [shift, factor] of [[16, 0x7feb352d], [15, 0x846ca68b], [16, 0x9e3779b1], [15, 0x85ebca6b]]) {
    h = Math.imul(h ^ (h >>> shift), factor) >>> 0;
  }
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/** The numbers of the largest entries, the largest first; the first of equals. */
const largest = (p, count) => [...p.keys()].sort((i, j) => p[j] - p[i] || i - j).slice(0, count);

/** Draw the next symbol. temperature 0: the likeliest. topK: only from so many. chance: 0 to 1. */
function choose(stream, { temperature, topK, chance }) {
  if (temperature === 0) return largest(stream.probabilities(), 1)[0];
  const p = stream.probabilities(temperature);
  if (topK < p.length) for (const i of largest(p, p.length).slice(topK)) p[i] = 0;
  const least = p.some((one) => one >= LEAST) ? LEAST : Number.MIN_VALUE;
  let left = 0;
  for (let i = 0; i < p.length; i++) if (p[i] >= least) left += chance * p[i];
  let drawn = 0;
  for (let i = 0; i < p.length && left >= 0; i++) {
    if (p[i] < least) continue;
    drawn = i;
    left -= p[i];
  }
  return drawn;
}
