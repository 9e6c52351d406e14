"use strict";
// Unpacks the gates and states of a layer: the inverse of minidark/report/packing.py.

const squashed = (x) => Math.min(1, Math.max(-1, (x * (27 + x * x)) / (27 + 9 * x * x)));
const EQUATIONS = {
  "gru h": (v, before) => v.z * before + (1 - v.z) * v.c,
  "lstm c": (v, before) => v.f * before + v.i * v.g,
  "lstm h": (v) => v.o * squashed(v.c),
  "rnn s": (v) => v.input + v.self,
};

const levelStep = (value) => (value.high - value.low) / value.steps;
const real = (value, i) => value.low + value.levels[i] * levelStep(value);

/** Add the prediction of the layer's equation to each unit's T levels, in order of time. */
function addEquation(layer, value, equation, T) {
  const others = layer.values.filter((other) => other !== value && other.levels);
  const size = levelStep(value);
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

/** Give each value of the layer its `levels`, of T bytes for each unit. */
async function unpack(layer, T) {
  for (const value of layer.values) {
    value.levels = await inflated(value.data);
    const equation = EQUATIONS[`${layer.type} ${value.name}`];
    if (equation && layer.values.length > 1) addEquation(layer, value, equation, T);
  }
}
