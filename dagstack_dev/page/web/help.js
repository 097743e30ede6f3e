// The keys of the page, in a dialog.

import { letters, switchLetters } from "./keys.js";
import { html, useEffect, useRef } from "./preact.js";
import { useStore } from "./store.js";
import { VIEWS } from "./views.js";

const KEYS = [
  ...VIEWS.map(({ key, title }) => [[key], title]),
  [["/"], "filter; Enter opens the only plugin that fits"],
  [["j", "k", "↓", "↑"], "next and previous row, or reload"],
  [["Enter"], "open the row"],
  [["←", "→"], "in the graph: to what it depends on, and to what depends on it"],
  [["+", "-", "0"], "in the graph: closer, farther, all of it; Shift and an arrow moves it"],
  [["Esc"], "back; in the filter, clear it"],
  [["r"], "reload the plugin of the row or of the view"],
  [["R"], "reload all plugins"],
  [["p"], "pause: edits wait; again: go on"],
  [["?"], "this list"],
];

const SELECTIONS = [
  ["name", "part of a name, a state or an error"],
  ["+name", "and all that it depends on"],
  ["name+", "and all that depends on it"],
  ["1+name", "and what it depends on, one step far"],
  ["kind:tool,llm", "plugins of these kinds"],
  ["state:failed", "a state, or pending, current, degraded, restart"],
];

export function Help({ onClose }) {
  const dialog = useRef(null);
  const areOn = useStore((state) => state.areOn, letters);
  useEffect(() => dialog.current.showModal(), []);
  return html`
    <dialog ref=${dialog} onClose=${onClose} aria-labelledby="help-title">
      <form method="dialog">
        <h2 id="help-title">Keys</h2>
        <dl class="pairs">
          ${KEYS.map(([keys, what]) => html`
            <dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt>
            <dd>${what}</dd>
          `)}
        </dl>
        <label>
          <input
            type="checkbox"
            checked=${areOn}
            onChange=${(event) => switchLetters(event.currentTarget.checked)}
          />
          ${" "}Letters and signs are keys
        </label>
        <h2>Filter</h2>
        <dl class="pairs">
          ${SELECTIONS.map(([text, what]) => html`<dt><code>${text}</code></dt><dd>${what}</dd>`)}
        </dl>
        <p>A space means <em>and</em>.</p>
        <button autofocus>Close</button>
      </form>
    </dialog>
  `;
}
