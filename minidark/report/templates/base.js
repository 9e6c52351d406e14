"use strict";
// The button switches between the system's theme, light and dark. The choice is stored if possible.
(() => {
  const root = document.documentElement;
  if (window.top !== window) root.classList.add("framed"); // the page around it has a title and a theme
  const themes = ["system", "light", "dark"];
  const withStorage = (action) => {
    try {
      return action(localStorage);
    } catch {
      return null; // browsers may deny storage to pages opened from a file
    }
  };
  let theme = withStorage((storage) => storage.getItem("minidark-theme")) ?? "system";
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
      withStorage((storage) => storage.setItem("minidark-theme", theme));
      apply();
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  });
})();
