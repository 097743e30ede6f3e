// Everything about one reload: where its time went, its plan, what was edited and logged.

import { openInPerfetto, save } from "../actions.js";
import { useFetched } from "../fetched.js";
import { Diff } from "../parts/diff.js";
import { PluginLink } from "../parts/links.js";
import { Lines } from "../parts/log.js";
import { Place } from "../parts/place.js";
import { html } from "../preact.js";
import { said } from "../trouble.js";
import { clock, count, duration } from "../words.js";
import { Bars } from "./bars.js";
import { outcomeOf } from "./reloads.js";

/** ended: when the last part of it ended that has; it is asked for again when that differs. */
export function Reload({ id, ended }) {
  const { data, problem } = useFetched(`reloads/${encodeURIComponent(id)}`, ended);
  const log = useFetched(`logs?reload=${id}&limit=1000`).data;
  if (problem) return html`<p class="empty bad">${problem.message}</p>`;
  if (!data) return html`<p class="empty">Loading …</p>`;
  const { spans, duration_ms: ms, errors, plan, diffs } = data;
  const [word, tone] = outcomeOf(data);
  return html`
    <header>
      <h2>
        Reload ${id} <span class="mark ${tone}">${word}</span> in ${duration(ms)},
        at ${clock(data.began)}
      </h2>
      <${Traces} id=${id} />
    </header>
    ${Object.entries(errors).map(([plugin, error]) => html`
      <p key=${plugin}>
        <${PluginLink} plugin=${plugin} /> <span class="bad">${said(error)}</span>
        ${error.path && html` <${Place} path=${error.path} line=${error.line} />`}
      </p>
    `)}
    <h3>Time</h3>
    <${Bars} spans=${spans} total=${ms} />
    ${plan.length > 0 && html`<h3>Plan</h3><${Plan} plan=${plan} />`}
    <h3>What was edited</h3>
    ${diffs.length === 0 && html`<p class="muted">Nothing that is known.</p>`}
    ${diffs.map((each) => html`<${Edit} key=${each.path} ...${each} />`)}
    <h3>What was logged</h3>
    ${log && html`<${Lines} lines=${log.events} />`}
  `;
}

/** So many steps of a plan are shown. */
const MOST_PLANNED = 100;

function Plan({ plan }) {
  const more = plan.length - MOST_PLANNED;
  return html`
    <ol class="plan">
      ${plan.slice(0, MOST_PLANNED).map(({ plugin, action, reason }) => html`
        <li>
          <b>${action}</b> <${PluginLink} plugin=${plugin} /> <span class="muted">${reason}</span>
        </li>
      `)}
    </ol>
    ${more > 0 && html`<p class="muted">… and ${count(more, "step")} more</p>`}
  `;
}

function Edit({ path, text }) {
  const isSecret = text === "";
  const untold = isSecret ? " differs in secrets only" : " is no text, or too large to be shown";
  return html`
    <p><${Place} path=${path} note=${text ? "" : untold} /></p>
    ${text && html`<${Diff} text=${text} />`}
  `;
}

/** Take the trace of one reload, or of all that are known, elsewhere. */
export function Traces({ id = null }) {
  const question = id === null ? "trace" : `trace?reload=${id}`;
  const name = id === null ? "reloads" : `reload-${id}`;
  return html`
    <span class="actions">
      <button onClick=${() => save(question, `${name}.json`)}>Save trace</button>
      <button onClick=${() => openInPerfetto(question, name)}>Open in Perfetto</button>
    </span>
  `;
}
