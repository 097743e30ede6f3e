// What depends on what, as a picture: at first only around what was reloaded last.

import { address } from "../api.js";
import { amend, go, useAddress } from "../address.js";
import { useFetched } from "../fetched.js";
import { Canvas } from "../graph/canvas.js";
import { makePicture } from "../graph/picture.js";
import { Filter } from "../parts/filter.js";
import { PluginLink, PluginLinks } from "../parts/links.js";
import { State } from "../parts/state.js";
import { html, useMemo, useState } from "../preact.js";
import { select } from "../selection.js";
import { useStore } from "../store.js";
import { toneOf, whyNot } from "../trouble.js";
import { count, headline, number } from "../words.js";

/** With more plugins than this, those of one kind become one box. */
const MANY = 300;
/** A reload of more plugins than this is shown as all of them. */
const MOST_AROUND = 50;

const HELP = "Click a plugin, or go to it with the arrow keys; Enter opens it.";

const WORST = ["bad", "warn", "info", "good"];

/** The name of the box that was chosen last, to come back to. */
let lastChosen = null;

export function Graph() {
  const { query } = useAddress();
  const plugins = useStore((state) => state.status.plugins);
  const { subject, path, fold } = useSubject(query, plugins);
  const { data, problem } = useFetched(path, useWiring(plugins));
  const picture = useMemo(() => data && makePicture(data), [data?.topology, path]);
  const looks = useLooks(plugins, query.filter);
  const [chosen, setChosen] = useState(lastChosen);
  lastChosen = chosen;
  const open = (box) =>
    box.plugin
      ? go({ view: "plugin", plugin: box.plugin })
      : amend({ open: opened(query, box.group) });
  const box = picture?.byName.get(chosen);
  return html`
    <section class="graph" aria-labelledby="graph-title">
      <h1 id="graph-title" class="hidden">Graph</h1>
      <div class="toolbar">
        <${Filter} value=${query.filter ?? ""} />
        <${Scope} query=${query} />
        <${Fold} query=${query} fold=${fold} />
        <p class="muted" role="status">${picture && shownBy(picture, plugins)}</p>
      </div>
      ${problem && html`<p class="empty bad">${problem.message}</p>`}
      ${picture && html`
        <div class="sheet">
          <${Canvas}
            picture=${picture}
            subject=${subject}
            label=${`${shownBy(picture, plugins)}; the arrow keys lead along dependencies`}
            ...${looks}
            chosen=${chosen}
            onChoose=${setChosen}
            onOpen=${open}
          />
        </div>
        <div class="about" role="status">
          ${box && html`<${About} box=${box} plugins=${plugins} onOpen=${() => open(box)} />`}
          ${!box && html`<span class="muted">${HELP}</span>`}
        </div>
      `}
    </section>
  `;
}

/** What the picture is of, the question for it, and by what plugins are folded. */
function useSubject({ scope = "reload", around, fold, open }, plugins) {
  const reloads = useFetched("reloads?limit=20").data?.reloads ?? [];
  const known = new Set(plugins.map((each) => each.plugin));
  const last = reloads.findLast((each) => each.affected.length > 0)?.affected ?? [];
  const centre = scope === "around" && around ? [around] : scope === "reload" ? last : [];
  const near = centre.filter((each) => known.has(each));
  if (near.length > 0 && near.length <= MOST_AROUND) {
    const question = address("graph", { around: near, depth: 1 });
    return { subject: near.join(" "), path: pathOf(question), fold: null };
  }
  const by = fold ?? (plugins.length > MANY ? "kind" : "none");
  const groups = by === "none" ? {} : { fold: by, open: open?.split(",") };
  return { subject: `all by ${by}`, path: pathOf(address("graph", groups)), fold: by };
}

const pathOf = (question) => question.replace("/api/", "");

/** A text that differs when a dependency does: only then there is another picture. */
function useWiring(plugins) {
  return useMemo(
    () => plugins.map(({ plugin, depends_on: needs }) => `${plugin} ${needs.join(" ")}`).join("\n"),
    [plugins],
  );
}

/** How boxes look now: the tone of the worst of their plugins, and which the filter leaves out. */
function useLooks(plugins, filter = "") {
  return useMemo(() => {
    const byRef = new Map(plugins.map((each) => [each.plugin, each]));
    const wanted = new Set(select(filter, plugins).map((each) => each.plugin));
    const tone = (ref) => {
      const plugin = byRef.get(ref);
      if (!plugin) return "info";
      const isBehind = plugin.state === "ready" && (plugin.receipt.pending || plugin.degraded);
      return isBehind ? "warn" : toneOf(plugin.state);
    };
    return {
      tones: ({ members }) => {
        const found = new Set(members.map(tone));
        return WORST.find((each) => found.has(each)) ?? "info";
      },
      isDimmed: ({ members }) => !members.some((each) => wanted.has(each)),
    };
  }, [plugins, filter]);
}

function shownBy({ boxes }, plugins) {
  const shown = boxes.reduce((sum, box) => sum + box.members.length, 0);
  const of = shown === plugins.length ? "" : ` of ${number(plugins.length)}`;
  const isFolded = boxes.some((box) => !box.plugin);
  return `${count(shown, "plugin")}${of}${isFolded ? `; boxes: ${boxes.length}` : ""}`;
}

const opened = ({ open = "" }, group) => [...open.split(",").filter(Boolean), group].join(",");

function Scope({ query }) {
  const { scope = "reload", around } = query;
  return html`
    <label>Show${" "}
      <select value=${scope} onChange=${(event) => amend({ scope: event.currentTarget.value })}>
        <option value="reload">around the last reload</option>
        ${around && html`<option value="around">around ${around}</option>`}
        <option value="all">all plugins</option>
      </select>
    </label>
  `;
}

function Fold({ query, fold }) {
  if (fold === null) return null;
  const choose = (event) => amend({ fold: event.currentTarget.value, open: "" });
  return html`
    <label>One box for each${" "}
      <select value=${fold} onChange=${choose}>
        <option value="none">plugin</option>
        <option value="kind">kind</option>
        <option value="folder">folder</option>
      </select>
    </label>
    ${query.open && html`<button onClick=${() => amend({ open: "" })}>Fold all</button>`}
  `;
}

/** What is known of the box that is chosen. */
function About({ box, plugins, onOpen }) {
  if (!box.plugin) {
    return html`
      <strong>${box.name}</strong> ${count(box.members.length, "plugin")}
      <button class="small" onClick=${onOpen}>Unfold</button>
    `;
  }
  const plugin = plugins.find((each) => each.plugin === box.plugin);
  if (!plugin) return null;
  const why = whyNot(plugin);
  return html`
    <${PluginLink} plugin=${plugin.plugin} /> <${State} state=${plugin.state} />
    ${why && html` <span class="bad">${headline(why)}</span>`}
    <${Neighbours} word="depends on" plugins=${plugin.depends_on} />
    <${Neighbours} word="needed by" plugins=${plugin.dependents} />${" "}
    <button class="small" onClick=${() => amend({ scope: "around", around: plugin.plugin })}>
      Only what is around it
    </button>
  `;
}

function Neighbours({ word, plugins }) {
  if (!plugins.length) return null;
  return html` <span class="muted">${word}</span> <${PluginLinks} plugins=${plugins} />`;
}
