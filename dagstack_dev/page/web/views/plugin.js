// Everything about one plugin.

import { reload } from "../actions.js";
import { back, useAddress } from "../address.js";
import { pluginPath } from "../api.js";
import { useFetched } from "../fetched.js";
import { useKeys } from "../keys.js";
import { Ago } from "../parts/ago.js";
import { Method } from "../parts/call.js";
import { Generations, History } from "../parts/history.js";
import { Log } from "../parts/log.js";
import { Panels } from "../parts/panels.js";
import { Place } from "../parts/place.js";
import { Dependencies, Receipt } from "../parts/receipt.js";
import { Part } from "../parts/section.js";
import { Health, State } from "../parts/state.js";
import { html, useRef } from "../preact.js";
import { useStore } from "../store.js";
import { hasFailed } from "../trouble.js";
import { short } from "../words.js";
import { Failure } from "./errors.js";

export function Plugin() {
  const { plugin } = useAddress();
  const { data, problem } = useFetched(pluginPath(plugin));
  const seen = useRef(null);
  if (data) seen.current = plugin;
  const isGone = problem?.status === 404 && seen.current === plugin;
  const why = isGone ? `${plugin} has been removed` : problem?.message;
  useKeys({ Escape: back, r: () => void reload([plugin]) });
  return html`
    <section class="page plugin" aria-labelledby="plugin-title">
      <header class="head">
        <h1 id="plugin-title" tabindex="-1" data-focus>${plugin}</h1>
        ${data && html`
          <${State} state=${data.state} />
          <span class="muted">for <${Ago} moment=${data.since} /></span>
          <${Health} plugin=${data} />
        `}
        <div class="actions">
          <button class="main" onClick=${() => reload([plugin])} disabled=${!data}>Reload</button>
        </div>
      </header>
      ${why && html`<p class="empty bad">${why}</p>`}
      ${data && html`<${Detail} detail=${data} />`}
    </section>
  `;
}

function Detail({ detail }) {
  const { plugin, receipt, manifest, generations, history: states, leaks, panels } = detail;
  return html`
    <div class="columns">
      <div>
        ${hasFailed(detail) && html`<${Wrong} plugin=${plugin} />`}
        ${panels.length > 0 && html`
          <${Panels} plugin=${plugin} generation=${receipt.generation} />
        `}
        <${Part} title="Methods"><${Methods} detail=${detail} /><//>
        <${Part} title="Log"><${Log} plugin=${plugin} /><//>
        ${generations.length > 0 && html`
          <${Part} title="Generations"><${Generations} generations=${generations} /><//>
        `}
      </div>
      <div>
        <${Part} title="Receipt"><${Receipt} detail=${detail} /><//>
        <${Part} title="Dependencies"><${Dependencies} detail=${detail} /><//>
        ${leaks.length > 0 && html`<${Part} title="Leaks"><${Leaks} leaks=${leaks} /><//>`}
        ${states.length > 0 && html`<${Part} title="History"><${History} states=${states} /><//>`}
        ${manifest && html`
          <${Part} title="Manifest">
            <p><${Place} path=${manifest.path} /></p>
            <pre class="code" tabindex="0" aria-label="Manifest">${manifest.text}</pre>
          <//>
        `}
      </div>
    </div>
  `;
}

/** Its own failure, as the view of errors has it. */
function Wrong({ plugin }) {
  const { data } = useFetched("errors");
  const failure = data?.failures.find((each) => each.plugins.includes(plugin));
  return failure ? html`<${Failure} failure=${failure} />` : null;
}

/** Those that can be called, without the panels, which are shown. */
function Methods({ detail: { plugin, state, methods } }) {
  const called = methods.filter(({ name }) => !name.startsWith("dev_panel_"));
  if (!called.length) {
    const why = state === "ready" ? "It has none that can be called." : "None can be called now.";
    return html`<p class="muted">${why}</p>`;
  }
  return called.map((each) => html`<${Method} key=${each.name} plugin=${plugin} method=${each} />`);
}

function Leaks({ leaks }) {
  const roots = useStore((state) => state.status.roots);
  return html`<ul>${leaks.map((each) => html`<li class="warn">${short(each, roots)}</li>`)}</ul>`;
}
