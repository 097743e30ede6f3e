// The columns of the inventory: how each is drawn, and what it is sorted by.

import { href, useAddress } from "./address.js";
import { Ago } from "./parts/ago.js";
import { Health, State } from "./parts/state.js";
import { useStore } from "./store.js";
import { whyNot } from "./trouble.js";
import { html } from "./preact.js";
import { duration, headline, short } from "./words.js";

const URGENCY = { failed: 0, blocked: 1 };

export const COLUMNS = [
  {
    name: "kind",
    title: "Kind",
    by: ({ plugin }) => plugin,
    Cell: ({ plugin }) => html`<span class="muted">${plugin.plugin.split("/")[0]}</span>`,
  },
  {
    name: "name",
    title: "Name",
    by: ({ plugin }) => plugin.split("/")[1],
    Cell: NameCell,
  },
  {
    name: "state",
    title: "State",
    by: ({ state }) => `${URGENCY[state] ?? 2} ${state}`,
    Cell: ({ plugin }) => html`<${State} state=${plugin.state} />`,
  },
  {
    name: "health",
    title: "Health",
    by: ({ degraded, requires_restart: restart }) => `${restart ? 0 : 1}${degraded ? 0 : 1}`,
    Cell: Health,
  },
  {
    name: "generation",
    title: "Gen.",
    by: ({ receipt }) => receipt.generation,
    Cell: ({ plugin }) => html`${plugin.receipt.generation || ""}`,
  },
  {
    name: "pending",
    title: "Pending",
    by: ({ receipt }) => receipt.pending_since ?? (receipt.reason ? "~" : "~~"),
    Cell: PendingCell,
  },
  {
    name: "age",
    title: "Age",
    by: ({ since }) => since,
    Cell: ({ plugin }) => html`<${Ago} moment=${plugin.since} />`,
  },
  {
    name: "timing",
    title: "Setup",
    by: ({ setup_ms: ms }) => ms ?? -1,
    Cell: ({ plugin }) => plugin.setup_ms !== null && duration(plugin.setup_ms),
  },
  {
    name: "error",
    title: "Last error",
    by: (plugin) => whyNot(plugin) || "~",
    Cell: ErrorCell,
  },
];

function NameCell({ plugin: { plugin } }) {
  const { query } = useAddress();
  const there = href({ view: "plugin", plugin, query });
  return html`<a tabindex="-1" href=${there}>${plugin.split("/")[1]}</a>`;
}

function PendingCell({ plugin: { receipt } }) {
  const { pending, pending_since: since, reason } = receipt;
  if (pending) return html`<span class="warn">for <${Ago} moment=${since} /></span>`;
  return reason && html`<span class="warn">behind</span>`;
}

function ErrorCell({ plugin }) {
  const roots = useStore((state) => state.status.roots);
  const text = short(headline(whyNot(plugin)), roots);
  return html`<span class=${plugin.error ? "bad" : "muted"} title=${text}>${text}</span>`;
}

/** Plugins by the column that `sort` names, from the highest on where a `-` stands before it. */
export function sorted(plugins, sort) {
  const column = COLUMNS.find(({ name }) => name === sort.replace("-", ""));
  if (!column) return plugins;
  const keyed = plugins.map((plugin) => [column.by(plugin), plugin]);
  keyed.sort(([a, one], [b, other]) => compare(a, b) || compare(one.plugin, other.plugin));
  if (sort.startsWith("-")) keyed.reverse();
  return keyed.map(([, plugin]) => plugin);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
