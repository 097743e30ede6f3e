// Where the time of a reload went: a row for each plugin, a bar for each step.

import { PluginLink } from "../parts/links.js";
import { Place } from "../parts/place.js";
import { html } from "../preact.js";
import { count, duration } from "../words.js";
import { rowsOf } from "./reloads.js";

/** So many plugins are drawn: those that took longest. */
const MOST = 50;

export function Bars({ spans, total }) {
  const rows = rowsOf(spans);
  const drawn = longest(rows);
  const share = (ms) => `${(100 * ms) / Math.max(total, 0.001)}%`;
  return html`
    <table class="bars">
      <thead class="hidden">
        <tr>${["Plugin", "When", "Steps"].map((title) => html`<th scope="col">${title}</th>`)}</tr>
      </thead>
      <tbody>
        ${drawn.map(([plugin, steps]) => html`
          <tr key=${plugin ?? ""}>
            <th scope="row">${plugin ? html`<${PluginLink} plugin=${plugin} />` : "all"}</th>
            <td class="lane">
              <svg aria-hidden="true">
                ${steps.map(({ step, begin_ms: begin, ms }) => html`
                  <rect class=${`step ${step}`} x=${share(begin)} width=${share(ms)} height="100%">
                    <title>${`${said(step)} ${duration(ms)}, after ${duration(begin)}`}</title>
                  </rect>
                `)}
              </svg>
            </td>
            <td class="steps">${steps.map((each) => html`<${Step} ...${each} />`)}</td>
          </tr>
        `)}
      </tbody>
    </table>
    ${rows.length > drawn.length && html`
      <p class="muted">… and ${count(rows.length - drawn.length, "plugin")} that took less</p>
    `}
  `;
}

function longest(rows) {
  if (rows.length <= MOST) return rows;
  const took = ([plugin, steps]) =>
    plugin === null ? Infinity : steps.reduce((sum, { ms }) => sum + ms, 0);
  const timed = rows.map((row) => [took(row), row]).sort(([one], [other]) => other - one);
  const kept = new Set(timed.slice(0, MOST).map(([, row]) => row));
  return rows.filter((row) => kept.has(row));
}

const said = (step) => step.replace("_", " ");

/** A step in words; of one that waited for a call, also for which. */
function Step({ step, ms, held_by: call }) {
  return html`
    <span class="said"><i class=${`step ${step}`}></i>${said(step)} <b>${duration(ms)}</b></span>
    ${call && html`
      <span class="muted"> held by ${call.method}()${call.caller && ` of ${call.caller}`}</span>
    `}
    ${call?.path && html` <${Place} path=${call.path} line=${call.line} />`}
  `;
}
