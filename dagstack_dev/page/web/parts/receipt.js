// What runs of a plugin, and whether it is what is on disk; what it depends on, and what on it.

import { href } from "../address.js";
import { html } from "../preact.js";
import { useStore } from "../store.js";
import { duration, short } from "../words.js";
import { Ago } from "./ago.js";
import { PluginLinks } from "./links.js";
import { Place } from "./place.js";

export function Receipt({ detail: { receipt, path, setup_ms: setup, last_reload: last } }) {
  const roots = useStore((state) => state.status.roots);
  const { is_current: isCurrent, because, generation, pending_since: pending } = receipt;
  return html`
    <dl class="pairs">
      <${Pair} name="Disk">
        ${isCurrent
          ? html`<span class="good">what runs is on disk</span>`
          : short(receipt.reason ?? "it does not run", roots)}
      <//>
      ${pending && html`
        <${Pair} name="Pending"><span class="warn">for <${Ago} moment=${pending} /></span><//>
      `}
      ${because.length > 1 && html`
        <${Pair} name="Because">${short(because.join(" ← "), roots)}<//>
      `}
      <${Pair} name="Generation">${generation || "none"}<//>
      <${Digest} name="Running" digest=${receipt.running} />
      <${Digest} name="On disk" digest=${receipt.on_disk} />
      ${path && html`<${Pair} name="Folder"><${Place} path=${path} /><//>`}
      ${setup !== null && html`<${Pair} name="Setup">${duration(setup)}<//>`}
      ${last && html`<${Pair} name="Last reload"><${Reload} reload=${last} /><//>`}
    </dl>
  `;
}

function Pair({ name, children }) {
  return html`<dt>${name}</dt><dd>${children}</dd>`;
}

function Digest({ name, digest }) {
  if (!digest) return null;
  return html`<${Pair} name=${name}><code title=${digest}>${digest.slice(0, 12)}</code><//>`;
}

function Reload({ reload: { id, outcome, duration_ms: ms, ended } }) {
  const place = href({ view: "timeline", query: { reload: String(id) } });
  const what = `${outcome.replace("_", " ")} in ${duration(ms)}`;
  return html`<a href=${place}>${what}</a>, <${Ago} moment=${ended} /> ago`;
}

export function Dependencies({ detail }) {
  const { plugin, depends_on: below, dependents: above, resources } = detail;
  const graph = href({ view: "graph", query: { scope: "around", around: plugin } });
  return html`
    <dl class="pairs">
      <${Pair} name="Depends on"><${Neighbours} plugins=${below} /><//>
      <${Pair} name="Needed by"><${Neighbours} plugins=${above} /><//>
      ${resources.length > 0 && html`
        <${Pair} name="Resources"><code>${resources.join(", ")}</code><//>
      `}
      <${Pair} name="Around it"><a href=${graph}>graph</a><//>
    </dl>
  `;
}

function Neighbours({ plugins }) {
  if (!plugins.length) return html`<span class="muted">nothing</span>`;
  return html`<${PluginLinks} plugins=${plugins} />`;
}
