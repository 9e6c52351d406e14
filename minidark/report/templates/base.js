"use strict";
// Light, dark, or as the system has it: the button goes round, and the choice is kept where it can be.
(() => {
  const root = document.documentElement;
  const themes = ["system", "light", "dark"];
  const kept = (action) => {
    try {
      return action(localStorage);
    } catch {
      return null; // a page that is opened from a file may keep nothing
    }
  };
  let theme = kept((storage) => storage.getItem("minidark-theme")) ?? "system";
  const apply = () => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    document.dispatchEvent(new Event("themechange"));
  };
  apply();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => (button.textContent = `Colours: ${theme}`);
    label();
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      kept((storage) => storage.setItem("minidark-theme", theme));
      apply();
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  });
})();
