"use strict";
// What several pages share: unpacking numbers, colours of values, and the most likely symbols.

/** Bytes from deflated base64. */
async function inflated(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** 256 colours from low to high, from the page's style in the current theme. */
function ramp() {
  const style = getComputedStyle(document.querySelector(".ramp")).backgroundImage;
  const [low, middle, high] = style.match(/rgb\([^)]*\)/g).map((c) => c.match(/[\d.]+/g).map(Number));
  return Array.from({ length: 256 }, (_, i) => {
    const [from, to, share] = i < 128 ? [low, middle, i / 127.5] : [middle, high, i / 127.5 - 1];
    return from.map((part, k) => Math.round(part + (to[k] - part) * share));
  });
}

/** An item of the list of likely symbols. came: whether it is the actual next one. */
function likelyItem(symbol, p, came) {
  const item = document.createElement("li");
  const [name, bar, percent] = ["code", "span", "span"].map((tag) => document.createElement(tag));
  name.textContent = symbol;
  bar.className = "share";
  bar.style.width = `${p * 100}%`;
  percent.className = "percent";
  percent.textContent = `${(p * 100).toFixed(2)} %`;
  item.append(name, bar, percent);
  if (came) {
    item.className = "came";
    item.title = "the actual next character";
  }
  return item;
}
