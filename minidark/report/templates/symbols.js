"use strict";
// Texts as symbols of a network, and back: bytes, byte pairs, or tokens with names.
//
// A cell is a symbol and the characters shown for it: {symbol, text, skip, written}. The cell of a
// character's first byte has the character; the cells of its other bytes have "". A byte that is not
// valid UTF-8 is shown as a lone surrogate, U+DC80 and up, as in Python. `skip`: the number of its
// first bytes that belong to the previous cell's character. symbol -1: a word without a token.

const ESCAPED = 0xdc00; // plus the byte

/** Bytes as a string with a character for each byte, for regular expressions. */
const spelled = (bytes) => bytes.reduce((text, byte) => text + String.fromCharCode(byte), "");

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function utf8(text) {
  return [...text].flatMap((character) => {
    const code = character.codePointAt(0);
    if (code < 0x80) return code;
    return code >= ESCAPED + 0x80 && code <= ESCAPED + 0xff ? code - ESCAPED : [...encoder.encode(character)];
  });
}

const LEADS = [0x80, 0xc2, 0xe0, 0xf0, 0xf5]; // upper bounds of the first byte ...
const LENGTHS = [1, 0, 2, 3, 4]; // ... and the bytes of such a character; 0: not a first byte

/** The first character of some bytes, and its number of bytes. */
function firstCharacter(bytes) {
  const length = LENGTHS[LEADS.findIndex((lead) => bytes[0] < lead)] ?? 0;
  if (length === 1) return [String.fromCharCode(bytes[0]), 1];
  try {
    if (length && bytes.length >= length) return [decoder.decode(Uint8Array.from(bytes.slice(0, length))), length];
  } catch {
    // not valid UTF-8: the byte is escaped
  }
  return [String.fromCharCode(ESCAPED + bytes[0]), 1];
}

/** Distribute the characters of consecutive cells, whose first one has its `skip`. */
function spell(cells, bytesOf) {
  const bytes = cells.flatMap((cell) => bytesOf(cell.symbol));
  const owners = cells.flatMap((cell) => bytesOf(cell.symbol).map(() => cell));
  const first = cells[0].skip;
  for (const cell of cells) Object.assign(cell, { text: "", skip: 0 });
  cells[0].skip = first;
  for (let at = first; at < bytes.length; ) {
    const [character, length] = firstCharacter(bytes.slice(at, at + 4));
    owners[at].text += character;
    for (let k = at + 1; k < at + length; k++) if (owners[k] !== owners[at]) owners[k].skip++;
    at += length;
  }
}

/** Symbols that stand for bytes. encodeBytes: from bytes to symbols; bytesOf: from a symbol to bytes. */
function byteSymbols(encodeBytes, bytesOf) {
  const encode = (text) => {
    const cells = encodeBytes(utf8(text)).map((symbol) => ({ symbol, skip: 0 }));
    if (cells.length) spell(cells, bytesOf);
    return cells;
  };
  /** The cells with one more, and the number of those that did not change. It may complete a character. */
  const append = (cells, symbol) => {
    const incomplete = (cell) => /[\udc80-\udcff]$/.test(cell.text);
    let start = cells.length;
    while (start && cells.length - start < 3 && incomplete(cells[start - 1])) start--;
    cells.push({ symbol, skip: 0, written: true });
    spell(cells.slice(start), bytesOf);
    return start;
  };
  const print = (symbols, length) => {
    const bytes = symbols.flatMap(bytesOf);
    return new TextDecoder().decode(Uint8Array.from(bytes.slice(0, length)));
  };
  return { encode, append, print, size: (symbol) => bytesOf(symbol).length };
}

const BYTES = 256;
const LETTER = "0-9A-Za-z_'\\x80-\\xff";
const PIECES = new RegExp(` ?[${LETTER}]{1,64}| {1,64}(?![${LETTER}])|[^ ${LETTER}]{1,64}`, "g");

/** Byte pairs, as in minidark/data/bytepairs.py. */
function bytePairs(pairs) {
  const names = Array.from({ length: BYTES }, (_, byte) => [byte]);
  for (const [a, b] of pairs) names.push([...names[a], ...names[b]]);
  const key = (a, b) => a * names.length + b;
  const known = new Map(pairs.map(([a, b], i) => [key(a, b), BYTES + i]));
  const merge = (symbols) => {
    for (;;) {
      const matches = symbols.slice(1).map((b, i) => known.get(key(symbols[i], b)) ?? Infinity);
      const first = Math.min(...matches);
      if (first === Infinity) return symbols;
      const joined = [];
      for (const symbol of symbols) {
        if (joined.length && known.get(key(joined.at(-1), symbol)) === first) joined[joined.length - 1] = first;
        else joined.push(symbol);
      }
      symbols = joined;
    }
  };
  const encodeBytes = (bytes) =>
    (spelled(bytes).match(PIECES) ?? []).flatMap((piece) => merge([...piece].map((c) => c.charCodeAt(0))));
  return byteSymbols(encodeBytes, (symbol) => names[symbol]);
}

/** Tokens with names, as in minidark/data/vocabulary.py: single characters, or words. */
function vocabulary({ names, characters }) {
  const known = new Map();
  names.forEach((name, symbol) => known.has(name) || known.set(name, symbol));
  // A word with the blanks around it. A line break is a word if it has a name.
  const words = known.has("\n") ? /[^\S\n]*(\n|\S+)[^\S\n]?/g : /\s*\S+\s?/g;
  const units = characters ? (text) => [...text] : (text) => text.match(words) ?? [];
  const nameOf = (unit) => {
    if (characters) return unit;
    const word = known.has("\n") ? unit.replace(/[^\S\n]/g, "") : unit.trim();
    return word === "<NEWLINE>" ? "\n" : word;
  };
  const encode = (text) => {
    const cells = units(text).map((unit) => ({ symbol: known.get(nameOf(unit)) ?? -1, text: unit, skip: 0 }));
    const rest = text.slice(cells.reduce((sum, cell) => sum + cell.text.length, 0));
    return rest ? [...cells, { symbol: -1, text: rest, skip: 0, blank: true }] : cells;
  };
  const shown = (symbol) => names[symbol] + (characters ? "" : " ");
  const append = (cells, symbol) => {
    cells.push({ symbol, text: shown(symbol), skip: 0, written: true });
    return cells.length - 1;
  };
  return { encode, append, print: (symbols) => symbols.map(shown).join(""), size: () => 1 };
}

/** The symbols of the page's network. */
function symbolsOf(data) {
  if (data.vocabulary) return vocabulary(data.vocabulary);
  if (data.pairs.length) return bytePairs(data.pairs);
  return byteSymbols((bytes) => bytes, (symbol) => [symbol]);
}
