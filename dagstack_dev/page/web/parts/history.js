// What a plugin was: its generations with what each has changed, and its states.

import { html } from "../preact.js";
import { useStore } from "../store.js";
import { said } from "../trouble.js";
import { short } from "../words.js";
import { Ago } from "./ago.js";
import { Diff } from "./diff.js";
import { State } from "./state.js";

/** generations: the newest last. */
export function Generations({ generations }) {
  return generations.toReversed().map(({ generation, since, diff }) => html`
    <details key=${generation} class="generation">
      <summary>
        Generation ${generation}<span class="muted"> <${Ago} moment=${since} /> ago</span>
      </summary>
      <${Change} diff=${diff} />
    </details>
  `);
}

function Change({ diff }) {
  if (diff) return html`<${Diff} text=${diff} />`;
  const why = diff === null ? "It is the first." : "No file of it differs from the one before.";
  return html`<p class="muted">${why}</p>`;
}

/** States in which a plugin is on its way to another one. */
const PASSING = ["loaded", "setting_up", "tearing_down"];

/** states: the newest last. */
export function History({ states }) {
  const roots = useStore((state) => state.status.roots);
  const now = states.at(-1);
  const told = states.filter((each) => each === now || !PASSING.includes(each.state));
  return html`
    <ol class="history">
      ${told.toReversed().map(({ state, since, reason, error }) => html`
        <li>
          <${State} state=${state} />
          <span class="muted">
            ${" "}<${Ago} moment=${since} /> ago${reason && `, ${short(reason, roots)}`}
          </span>
          ${error && html`<div class="bad">${said(error)}</div>`}
        </li>
      `)}
    </ol>
  `;
}
