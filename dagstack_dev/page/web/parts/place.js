// A place in a file, which can be copied and opened in the editor.

import { copy, open } from "../actions.js";
import { useStore } from "../store.js";
import { html } from "../preact.js";
import { short } from "../words.js";

export function Place({ path, line, note = "" }) {
  const roots = useStore((state) => state.status.roots);
  const whole = line ? `${path}:${line}` : path;
  return html`
    <span class="place">
      <code title=${whole}>${short(whole, roots)}</code>${note}
      <${Small} onClick=${() => open(path, line)} label=${`Open ${whole} in the editor`}>open<//>
      <${Small} onClick=${() => copy(whole, "path")} label=${`Copy the path ${whole}`}>copy<//>
    </span>
  `;
}

/** A button that sends no form that it may stand in. */
function Small({ onClick, label, children }) {
  return html`
    <button type="button" class="small" onClick=${onClick} aria-label=${label}>${children}</button>
  `;
}
