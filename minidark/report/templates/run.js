"use strict";
// Learning to write: the samples, one at a time, beside the loss. A live page reloads itself.
(() => {
  const samples = [...document.querySelectorAll(".samples > li")];
  const slider = document.getElementById("sample");
  if (slider) {
    const batches = samples.map((item) => Number(item.dataset.batch));
    const show = (k) => {
      samples.forEach((item, n) => (item.hidden = n !== k));
      slider.value = k;
      slider.setAttribute("aria-valuetext", samples[k].querySelector("h3").textContent);
      charts[0]?.choose(batches[k]);
    };
    const choose = (k) => {
      show(k);
      choices.set("sample", k === samples.length - 1 ? null : batches[k]); // the last one stays the last
    };
    slider.max = samples.length - 1;
    slider.addEventListener("input", () => choose(Number(slider.value)));
    charts[0]?.svg.addEventListener("click", () => {
      const distance = (k) => Math.abs(batches[k] - charts[0].at);
      if (charts[0].at !== undefined) choose(samples.map((_, k) => k).reduce((a, b) => (distance(b) < distance(a) ? b : a)));
    });
    document.querySelector(".learning").classList.add("one");
    const stored = batches.indexOf(choices.get("sample"));
    show(stored < 0 ? samples.length - 1 : stored);
  }

  // A live page reloads itself: the focus returns to where it was, and a drag is not interrupted.
  const focusable = () => [...document.querySelectorAll("button, input, summary, [tabindex='0']")];
  focusable()[choices.get("focus")]?.focus({ preventScroll: true });
  choices.set("focus", null);

  const live = document.getElementById("live");
  if (!live) return;
  let held = false;
  for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
    addEventListener(name, (event) => (held = event.buttons > 0));
  const { written, every, silent } = live.dataset;
  const age = () => Date.now() / 1000 - Number(written);
  const tell = () => {
    const seconds = Math.max(0, Math.round(age()));
    live.querySelector("span").textContent = age() > Number(silent)
      ? `Last written ${Math.round(seconds / 60)} min ago: \`minidark report --live\` no longer runs, or this machine sleeps.`
      : `Renewed ${seconds} s ago.`;
  };
  tell();
  setInterval(tell, 1000);
  setInterval(() => {
    if (held || document.hidden || !getSelection().isCollapsed) return;
    choices.set("focus", focusable().indexOf(document.activeElement));
    location.reload();
  }, Number(every) * 1000);
})();
