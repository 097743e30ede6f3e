// The reloads, each as a bar, the newest first; and everything about the one that is chosen.

import { amend, href, useAddress } from "../address.js";
import { useFetched } from "../fetched.js";
import { Ago } from "../parts/ago.js";
import { useKeys } from "../keys.js";
import { html, useRef } from "../preact.js";
import { Reload, Traces } from "../timeline/reload.js";
import { outcomeOf, pluginsOf } from "../timeline/reloads.js";
import { duration, names } from "../words.js";

export function Timeline() {
  const { query } = useAddress();
  const { data, problem } = useFetched("reloads");
  const list = useRef(null);
  const reloads = (data?.reloads ?? []).toReversed();
  const at = reloads.findIndex((each) => String(each.id) === query.reload);
  const step = (by) => () => {
    const next = reloads[Math.max(0, Math.min(reloads.length - 1, at + by))];
    if (!next) return;
    amend({ reload: String(next.id) });
    list.current.children[reloads.indexOf(next)].scrollIntoView({ block: "nearest" });
  };
  // Within the reload, arrows scroll what has the focus: a log, a diff.
  const outside = (act) => ({ target }) => (target.closest?.(".reload") ? false : act());
  const [next, previous] = [step(1), step(-1)];
  useKeys({ j: next, ArrowDown: outside(next), k: previous, ArrowUp: outside(previous) });
  const chosen = query.reload ?? reloads[0]?.id;
  const longest = Math.max(...reloads.map((each) => each.duration_ms), 1);
  return html`
    <section class="timeline" aria-labelledby="timeline-title">
      <div class="reloads">
        <header>
          <h1 id="timeline-title" tabindex="-1" data-focus>Timeline</h1>
          ${reloads.length > 0 && html`<${Traces} />`}
        </header>
        ${problem && html`<p class="bad">${problem.message}</p>`}
        ${data && reloads.length === 0 && html`<p class="empty">No reload yet. Save a file.</p>`}
        <ol ref=${list}>
          ${reloads.map((each) => html`
            <${Entry}
              key=${each.id}
              reload=${each}
              longest=${longest}
              isHere=${String(each.id) === String(chosen)}
            />
          `)}
        </ol>
      </div>
      ${chosen !== undefined && html`
        <article class="reload" aria-label=${`Reload ${chosen}`}>
          <${Reload}
            key=${chosen}
            id=${chosen}
            ended=${reloads.find((each) => String(each.id) === String(chosen))?.ended}
          />
        </article>
      `}
    </section>
  `;
}

function Entry({ reload, longest, isHere }) {
  const { query } = useAddress();
  const { id, ended, duration_ms: ms, paths, phases } = reload;
  const plugins = pluginsOf(reload);
  const what = plugins.length ? plugins : paths.map((path) => path.split("/").at(-1));
  const [word, tone] = outcomeOf(reload);
  const place = href({ view: "timeline", query: { ...query, reload: String(id) } });
  // By the square root: beside a reload of seconds, one of milliseconds is still seen.
  const scale = Math.sqrt(longest * Math.max(ms, 1));
  const share = (part) => `${(100 * part) / scale}%`;
  return html`
    <li>
      <a href=${place} aria-current=${isHere ? "true" : null}>
        <span class="entry">
          <span class="mark ${tone}">${word}</span>
          <span class="muted">${duration(ms)}, <${Ago} moment=${ended} /> ago</span>
        </span>
        <span class="what">${names(what, 2)}</span>
        <svg aria-hidden="true">
          <rect class="whole" width=${share(ms)} height="100%"></rect>
          ${phases.map(({ step, begin_ms: begin, ms: took }) => html`
            <rect class=${`step ${step}`} x=${share(begin)} width=${share(took)} height="100%" />
          `)}
        </svg>
      </a>
    </li>
  `;
}
