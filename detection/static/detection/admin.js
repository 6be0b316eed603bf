"use strict";
// On every page of the admin: icons are not read aloud by their names, and paper is white.
document.addEventListener("DOMContentLoaded", () => {
  const ICON = ".material-symbols-outlined";
  const NAMES = { account_circle: gettext("Account"), close: gettext("Close"), contrast: gettext("Theme"), dark_mode: gettext("Theme"), light_mode: gettext("Theme"), menu: gettext("Menu"), more_vert: gettext("More"), unfold_more: gettext("Choose") };

  // What a control is called without its icons; with an icon alone it needs a name of its own.
  const words = (control) => {
    const copy = control.cloneNode(true);
    copy.querySelectorAll(ICON).forEach((icon) => icon.remove());
    return copy.textContent.trim() || [...copy.querySelectorAll("img[alt]")].map((image) => image.alt).join("");
  };
  const hide = (icon) => {
    icon.setAttribute("aria-hidden", "true");
    const control = icon.closest("a, button, summary, [role=button]");
    if (!control || control.hasAttribute("aria-label") || control.hasAttribute("aria-labelledby") || control.title || words(control)) return;
    const name = icon.textContent.trim();
    control.setAttribute("aria-label", NAMES[name] || name.replaceAll("_", " "));
  };
  const within = (node) => node.querySelectorAll(`${ICON}:not([aria-hidden])`).forEach(hide);
  within(document);
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) if (node.nodeType === 1) within(node.parentElement || node);
  }).observe(document.body, { childList: true, subtree: true });

  // Dark pages have pale letters.
  const root = document.documentElement;
  let wasDark = false;
  window.matchMedia("print").addEventListener("change", ({ matches }) => {
    if (matches) wasDark = root.classList.contains("dark");
    if (wasDark) root.classList.toggle("dark", !matches);
  });
});
