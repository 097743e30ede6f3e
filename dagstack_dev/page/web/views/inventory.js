// All plugins in a table that is quick with thousands of them: only the rows in sight are drawn.

import { reload } from "../actions.js";
import { amend, go, href, useAddress } from "../address.js";
import { COLUMNS, sorted } from "../columns.js";
import { useKeys } from "../keys.js";
import { Filter } from "../parts/filter.js";
import { html, useLayoutEffect, useMemo, useRef, useState } from "../preact.js";
import { select, unknownIn } from "../selection.js";
import { useStore } from "../store.js";
import { count, number } from "../words.js";

/** Pixels of a row; as in style.css. */
const ROW = 28;

/** Rows that are drawn above and below those in sight. */
const BEYOND = 12;

export function Inventory() {
  const { query } = useAddress();
  const plugins = useStore((state) => state.status.plugins);
  const { filter = "", sort = "" } = query;
  const rows = useMemo(() => sorted(select(filter, plugins), sort), [plugins, filter, sort]);
  const shown = rows.length < plugins.length && `${number(rows.length)} of `;
  return html`
    <section class="inventory" aria-labelledby="inventory-title">
      <h1 id="inventory-title" class="hidden">Inventory</h1>
      <div class="toolbar">
        <${Filter} value=${filter} only=${rows.length === 1 ? rows[0].plugin : null} />
        <p class="muted" role="status">${shown}${count(plugins.length, "plugin")}</p>
        <${States} plugins=${plugins} />
      </div>
      ${rows.length > 0
        ? html`<${Table} rows=${rows} sort=${sort} />`
        : html`<${Nothing} filter=${filter} plugins=${plugins} />`}
    </section>
  `;
}

/** How many plugins are in which state; each leads to them. */
function States({ plugins }) {
  const { query } = useAddress();
  const numbers = new Map();
  for (const { state } of plugins) numbers.set(state, (numbers.get(state) ?? 0) + 1);
  const pending = plugins.filter((each) => each.receipt.pending).length;
  if (pending) numbers.set("pending", pending);
  return html`
    <ul class="states" aria-label="States">
      ${[...numbers].map(([state, many]) => html`
        <li><a href=${href({ view: "inventory", query: { ...query, filter: `state:${state}` } })}>
          ${number(many)} ${state.replace("_", " ")}
        </a></li>
      `)}
    </ul>
  `;
}

function Nothing({ filter, plugins }) {
  if (!filter) {
    return html`
      <p class="empty">No plugins yet. A folder with a <code>dagstack.toml</code> will be one.</p>
    `;
  }
  return html`
    <p class="empty">
      No plugin fits <code>${filter}</code>.
      <button onClick=${() => amend({ filter: "" })}>Clear the filter</button>
    </p>
    ${unknownIn(filter, plugins).map((each) => html`<p class="empty">${each}</p>`)}
  `;
}

/** The plugin of the row that was chosen last, to come back to. */
let lastChosen = null;

function Table({ rows, sort }) {
  const scroller = useRef(null);
  const [chosen, setChosen] = useState(lastChosen); // A plugin: rows move.
  lastChosen = chosen;
  const [first, last] = useWindow(scroller, rows.length);
  const at = rows.findIndex((each) => each.plugin === chosen);
  const choose = (index) => {
    const wanted = Math.max(0, Math.min(rows.length - 1, index));
    setChosen(rows[wanted].plugin);
    reveal(scroller.current, wanted);
  };
  useLayoutEffect(() => {
    if (at >= 0) reveal(scroller.current, at);
  }, []);
  const page = () => Math.max(1, Math.floor(scroller.current.clientHeight / ROW) - 2);
  const down = () => choose(at + 1);
  const up = () => choose(at < 0 ? 0 : at - 1);
  useKeys({
    j: down,
    k: up,
    ArrowDown: down,
    ArrowUp: up,
    PageDown: () => choose(at + page()),
    PageUp: () => choose(at - page()),
    Home: () => choose(0),
    End: () => choose(rows.length - 1),
    Enter: () => at >= 0 && go({ view: "plugin", plugin: chosen }),
    r: () => at >= 0 && void reload([chosen]),
  });
  const drawn = rows.slice(first, last);
  const isDrawn = at >= first && at < last;
  return html`
    <div class="scroller" ref=${scroller}>
      <div style=${{ height: `${(rows.length + 1) * ROW}px` }}>
        <table
          role="grid"
          class="rows"
          tabindex="0"
          data-focus
          style=${{ marginTop: `${first * ROW}px` }}
          aria-label="Plugins"
          aria-rowcount=${rows.length + 1}
          aria-activedescendant=${isDrawn ? `row-${chosen}` : null}
          onFocus=${({ target, currentTarget }) => target === currentTarget && at < 0 && choose(0)}
        >
          <thead>
            <tr aria-rowindex="1">
              ${COLUMNS.map((column) => html`<${Head} ...${column} sort=${sort} />`)}
            </tr>
          </thead>
          <tbody>
            ${drawn.map((plugin, index) => html`
              <${Row}
                key=${plugin.plugin}
                plugin=${plugin}
                number=${first + index + 2}
                isChosen=${plugin.plugin === chosen}
                onChoose=${setChosen}
              />
            `)}
          </tbody>
        </table>
      </div>
    </div>
  `;
}

function Head({ name, title, sort }) {
  const [by, order] = [sort.replace("-", ""), sort.startsWith("-") ? "descending" : "ascending"];
  const isSorted = by === name;
  const next = isSorted && order === "ascending" ? `-${name}` : name;
  return html`
    <th class=${`c-${name}`} scope="col" aria-sort=${isSorted ? order : null}>
      <button onClick=${() => amend({ sort: next })}>${title}</button>
    </th>
  `;
}

function Row({ plugin, number, isChosen, onChoose }) {
  return html`
    <tr
      id=${`row-${plugin.plugin}`}
      aria-rowindex=${number}
      aria-selected=${isChosen}
      onClick=${() => onChoose(plugin.plugin)}
      onDblClick=${() => go({ view: "plugin", plugin: plugin.plugin })}
    >
      ${COLUMNS.map(
        ({ name, Cell }) => html`<td class=${`c-${name}`}><${Cell} plugin=${plugin} /></td>`,
      )}
    </tr>
  `;
}

/** Which rows are to be drawn, as the first and the one behind the last. */
function useWindow(scroller, length) {
  const [seen, setSeen] = useState({ top: 0, rows: 60 });
  useLayoutEffect(() => {
    const { current } = scroller;
    const look = () => {
      const top = Math.floor(current.scrollTop / ROW / BEYOND) * BEYOND;
      const rows = Math.ceil(current.clientHeight / ROW);
      setSeen((before) => (before.top === top && before.rows === rows ? before : { top, rows }));
    };
    look();
    current.addEventListener("scroll", look, { passive: true });
    const sizes = new ResizeObserver(look);
    sizes.observe(current);
    return () => {
      current.removeEventListener("scroll", look);
      sizes.disconnect();
    };
  }, []);
  const first = Math.max(0, Math.min(seen.top, length - seen.rows) - BEYOND);
  return [first, Math.min(length, first + seen.rows + 3 * BEYOND)];
}

/** Scroll so that a row can be seen. */
function reveal(scroller, index) {
  const top = index * ROW; // The head stays where it is, so that it covers the first pixels.
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  const bottom = top + 2 * ROW - scroller.clientHeight;
  if (bottom > scroller.scrollTop) scroller.scrollTop = bottom;
}
