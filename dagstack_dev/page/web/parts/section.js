// A part of a page under a title of its own.

import { html } from "../preact.js";

export function Part({ title, onRefresh, children }) {
  return html`
    <section class="part">
      <header>
        <h2>${title}</h2>
        ${onRefresh && html`
          <button class="small" onClick=${onRefresh} aria-label=${`Refresh ${title}`}>
            refresh
          </button>
        `}
      </header>
      ${children}
    </section>
  `;
}
