// The state and the health of a plugin, in a word with a colour.

import { html } from "../preact.js";
import { toneOf } from "../trouble.js";

export function State({ state }) {
  return html`<span class="mark ${toneOf(state)}">${state.replace("_", " ")}</span>`;
}

/** Whether it is well. Nothing is said of what does not run. */
export function Health({ plugin }) {
  if (plugin.requires_restart) return html`<span class="warn">needs a restart</span>`;
  if (plugin.degraded) return html`<span class="warn">degraded</span>`;
  return plugin.state === "ready" && html`<span class="muted">ok</span>`;
}
