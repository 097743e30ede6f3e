// All that is wrong: what, where, what runs on all the same, and what waits for it.

import { copy } from "../actions.js";
import { useFetched } from "../fetched.js";
import { Account } from "../parts/account.js";
import { Because, PluginLinks } from "../parts/links.js";
import { asMarkdown, runsOn } from "../report.js";
import { useStore } from "../store.js";
import { html, useState } from "../preact.js";
import { number, short } from "../words.js";

export function Errors() {
  const { data, problem } = useFetched("errors");
  return html`
    <section class="page" aria-labelledby="errors-title">
      <h1 id="errors-title" tabindex="-1" data-focus>Errors</h1>
      ${problem && html`<p class="bad">${problem.message}</p>`}
      ${data?.failures.length === 0 && html`<p class="empty good">Nothing is wrong.</p>`}
      ${data?.failures.map(
        (each) => html`<${Failure} key=${each.path ?? each.plugins[0]} failure=${each} />`,
      )}
    </section>
  `;
}

export function Failure({ failure }) {
  const roots = useStore((state) => state.status.roots);
  const { plugins, path, title, account, blocks } = failure;
  const kept = runsOn(failure);
  const subject = plugins.length ? html`<${PluginLinks} plugins=${plugins} />` : short(path, roots);
  return html`
    <article class="failure">
      <header>
        <h2>${subject} ${title}</h2>
        <button class="small" onClick=${() => copy(asMarkdown(failure, roots), "the error")}>
          Copy as Markdown
        </button>
      </header>
      <${Account} account=${account} />
      ${kept && html`<p class="good">${kept}</p>`}
      ${blocks.length > 0 && html`<${Waiting} plugins=${blocks} />`}
    </article>
  `;
}

/** Of so many plugins that wait, the ways down to the failure are there at first sight. */
const FEW = 5;

/** And of more, so many at all. */
const MOST = 100;

/** What waits for the failure to be mended, each with its way down to it. */
function Waiting({ plugins }) {
  const [isOpen, setOpen] = useState(plugins.length <= FEW);
  const who = plugins.length === 1 ? "1 plugin waits" : `${number(plugins.length)} plugins wait`;
  const shown = isOpen ? plugins.slice(0, MOST) : [];
  const more = plugins.length - MOST;
  return html`
    <details
      class="waiting"
      open=${isOpen}
      onToggle=${(event) => setOpen(event.currentTarget.open)}
    >
      <summary>${who} for it</summary>
      <ul>
        ${shown.map((plugin) => html`<li key=${plugin}><${Because} plugin=${plugin} /></li>`)}
        ${more > 0 && html`<li class="muted">… and ${number(more)} more</li>`}
      </ul>
    </details>
  `;
}
