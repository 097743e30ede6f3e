// What went wrong and where, frame by frame, as at the terminal.

import { html } from "../preact.js";
import { useStore } from "../store.js";
import { short } from "../words.js";
import { Place } from "./place.js";

/** account: as `GET /api/errors` has it. */
export function Account({ account }) {
  return html`<div class="account">${account.map((each) => html`<${Section} ...${each} />`)}</div>`;
}

function Section({ kind, text, frame }) {
  const roots = useStore((state) => state.status.roots);
  return html`
    <p class=${["caller", "more"].includes(kind) && "muted"}>
      ${short(text, roots)}${text && frame && " at "}${frame && html`<${Where} ...${frame} />`}
    </p>
    ${frame?.code.length > 0 && html`
      <pre class=${kind === "caller" ? "code caller" : "code"} tabindex="0" aria-label="Source">
        <code class="lines">${frame.code.map((each) => html`<${Line} ...${each} />`)}</code>
      </pre>
    `}
  `;
}

function Where({ path, line, function: name }) {
  return html`<${Place} path=${path} line=${line} note=${name && `in ${name}`} />`;
}

function Line({ text, line, is_here: isHere }) {
  const gutter = `${isHere ? "❱" : " "}${String(line).padStart(5)}  `;
  return html`<span class=${isHere && "here"}><b>${gutter}</b>${text}</span>`;
}
