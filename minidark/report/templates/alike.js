"use strict";
// Stretches of a text in which the units of a layer behave alike.
//
// A unit's values are standardised over the text: mean 0, standard deviation 1. The units whose mean
// over a stretch is farthest from 0 stand out in it. Two stretches of the same length are alike if
// these units have the same means in both.

const FEWEST_UNITS = 3;
const MOST_UNITS = 12;

/** Sums of each unit's standardised values before each of C characters and after the last: C + 1
 *  numbers for each unit. ends: the index of each character's last byte, of T. */
function runningSums(value, units, ends, T) {
  const C = ends.length;
  const sums = new Float64Array(units * (C + 1));
  for (let unit = 0; unit < units; unit++) {
    let [sum, squares] = [0, 0];
    for (const end of ends) {
      const level = value.levels[unit * T + end];
      sum += level;
      squares += level * level;
    }
    const mean = sum / C;
    const deviation = Math.sqrt(Math.max(0, squares / C - mean * mean));
    for (let at = 0, total = 0; at < C; at++) {
      if (deviation > 1e-6) total += (value.levels[unit * T + ends[at]] - mean) / deviation;
      sums[unit * (C + 1) + at + 1] = total;
    }
  }
  return sums;
}

/** The mean of a unit from one character to another, inclusive. */
const meanOver = (sums, C, unit, from, to) =>
  (sums[unit * (C + 1) + to + 1] - sums[unit * (C + 1) + from]) / (to - from + 1);

/** The units that stand out in a stretch, and their means: those a standard deviation from 0, but at
 *  least FEWEST_UNITS and at most MOST_UNITS. The farthest comes first. */
function unitsThatStandOut(sums, C, units, from, to) {
  const means = Array.from({ length: units }, (_, unit) => [unit, meanOver(sums, C, unit, from, to)]);
  means.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  return means.slice(0, MOST_UNITS).filter(([, mean], n) => n < FEWEST_UNITS || Math.abs(mean) >= 1);
}

/** The `most` stretches that are most like the one from `from` to `to`. None overlap. likeness: at
 *  most 1, where the means are equal. */
function stretchesAlike(sums, C, chosen, from, to, most) {
  const length = to - from + 1;
  const own = chosen.reduce((sum, [, mean]) => sum + mean * mean, 0);
  const every = [];
  for (let start = 0; start + length <= C; start++) {
    let [product, other] = [0, 0];
    for (const [unit, mean] of chosen) {
      const there = meanOver(sums, C, unit, start, start + length - 1);
      product += mean * there;
      other += there * there;
    }
    every.push({ from: start, to: start + length - 1, likeness: own + other ? (2 * product) / (own + other) : 0 });
  }
  every.sort((a, b) => b.likeness - a.likeness);
  const found = [];
  const free = (one) => [{ from, to }, ...found].every((two) => one.to < two.from || two.to < one.from);
  for (const one of every) {
    if (found.length === most || one.likeness <= 0) break;
    if (free(one)) found.push(one);
  }
  return found;
}
