// The button that goes from the system's theme to light, to dark and back.

import { byId, icon } from "./dom.js";

const THEMES = ["system", "light", "dark"];

/** Makes the button show and change what theme.js has set. */
export function startThemeSwitch() {
  const button = byId("theme");
  const root = document.documentElement;
  const show = () => {
    const label = `Theme: ${root.dataset.theme}`;
    button.replaceChildren(icon(root.dataset.theme ?? "system"));
    button.title = label;
    button.setAttribute("aria-label", label);
  };
  button.onclick = () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
    root.dataset.theme = next;
    localStorage.setItem("theme", next);
    show();
  };
  show();
}
