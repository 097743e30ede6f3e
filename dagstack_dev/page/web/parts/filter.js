// The field of the filter, which is kept in the address.

import { amend, go } from "../address.js";
import { useKeys } from "../keys.js";
import { html, useRef } from "../preact.js";

/** only: the one plugin that fits, which Enter opens. */
export function Filter({ value, only = null }) {
  const field = useRef(null);
  useKeys({ "/": () => field.current.select() });
  const leave = (event) => {
    if (event.key === "Escape" && value) amend({ filter: "" });
    else if (event.key !== "Escape" && event.key !== "Enter") return undefined;
    event.preventDefault();
    if (event.key === "Enter" && value && only) return go({ view: "plugin", plugin: only });
    field.current.blur();
    return document.querySelector("[data-focus]")?.focus();
  };
  return html`
    <label class="filter">
      <span>Filter</span>
      <input
        ref=${field}
        type="search"
        value=${value}
        placeholder="+name  kind:tool  state:failed"
        spellcheck=${false}
        autocomplete="off"
        onInput=${(event) => amend({ filter: event.currentTarget.value })}
        onKeyDown=${leave}
      />
      <kbd aria-hidden="true">/</kbd>
    </label>
  `;
}
