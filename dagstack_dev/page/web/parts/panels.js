// What a plugin shows of itself: text as text.

import { pluginPath } from "../api.js";
import { useFetched } from "../fetched.js";
import { html, useState } from "../preact.js";
import { said } from "../trouble.js";
import { Account } from "./account.js";
import { Json } from "./json.js";
import { Markdown } from "./markdown.js";
import { Part } from "./section.js";

/** Its code runs for that: so for each generation, and when asked to; not upon each event. */
export function Panels({ plugin, generation }) {
  const [asked, ask] = useState(0);
  const { data, problem } = useFetched(`${pluginPath(plugin)}/panels`, `${generation} ${asked}`);
  if (problem) return html`<${Part} title="Panels"><p class="bad">${problem.message}</p><//>`;
  return data?.panels.map((panel) => html`
    <${Part} key=${panel.title} title=${panel.title} onRefresh=${() => ask(asked + 1)}>
      <${Panel} ...${panel} />
    <//>
  `);
}

function Panel({ kind, value, error, account }) {
  if (account.length) return html`<${Account} account=${account} />`;
  if (error) return html`<p class="bad">${said(error)}</p>`;
  if (kind === "markdown") return html`<${Markdown} text=${value} level=${2} />`;
  return html`<${Json} value=${value} />`;
}
