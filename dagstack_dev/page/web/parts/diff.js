// A unified diff: its signs stay, colours come on top.

import { html } from "../preact.js";
import { useStore } from "../store.js";
import { short } from "../words.js";

const TONES = { "+": "added", "-": "removed", "@": "hunk" };
const FILE = /^(---|\+\+\+) /;

export function Diff({ text }) {
  const roots = useStore((state) => state.status.roots);
  const lines = text.replace(/\n$/, "").split("\n");
  return html`
    <pre class="code" tabindex="0" aria-label="Diff"><code class="lines">${lines.map((line) =>
      FILE.test(line)
        ? html`<span class="hunk">${short(line, roots)}</span>`
        : html`<span class=${TONES[line[0]] ?? ""}>${line || " "}</span>`,
    )}</code></pre>
  `;
}
