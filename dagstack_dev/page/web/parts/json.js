// Any JSON value as a tree that opens and closes.

import { html, useState } from "../preact.js";
import { count } from "../words.js";

/** Members of a list or an object that are shown at first, and more of them with each click. */
const SHOWN = 100;

/** Characters of a list or an object that is shown in one line. */
const SHORT = 72;

export function Json({ value, name = null, isOpen = true }) {
  const label = name !== null && html`<span class="key">${name}</span>: `;
  const isTree = value !== null && typeof value === "object";
  if (isTree && JSON.stringify(value).length > SHORT) {
    return html`<${Branch} value=${value} label=${label} isOpen=${isOpen} />`;
  }
  return html`<div>${label}<${Leaf} value=${value} /></div>`;
}

function Branch({ value, label, ...state }) {
  const [isOpen, setOpen] = useState(state.isOpen);
  const [most, setMost] = useState(SHOWN);
  const members = Object.entries(value);
  const left = members.length - most;
  const size = Array.isArray(value)
    ? `[${count(members.length, "item")}]`
    : `{${count(members.length, "key")}}`;
  return html`
    <details class="json" open=${isOpen} onToggle=${(event) => setOpen(event.currentTarget.open)}>
      <summary>
        ${label}<span class="muted">${size} ${!isOpen && preview(value)}</span>
      </summary>
      ${isOpen && html`
        <div class="members">
          ${members.slice(0, most).map(
            ([key, each]) => html`<${Json} key=${key} name=${key} value=${each} isOpen=${false} />`,
          )}
          ${left > 0 && html`
            <button class="small" onClick=${() => setMost(most + SHOWN)}>${left} more</button>
          `}
        </div>
      `}
    </details>
  `;
}

/** The beginning of what is closed. */
const preview = (value) => `${JSON.stringify(value).slice(0, SHORT)}…`;

function Leaf({ value }) {
  if (typeof value === "string" && value.includes("\n")) {
    return html`<pre class="text">${value}</pre>`;
  }
  return html`<code>${JSON.stringify(value)}</code>`;
}
