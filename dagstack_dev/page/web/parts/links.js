// Plugins that lead to their views.

import { href, useAddress } from "../address.js";
import { useStore } from "../store.js";
import { html, useState } from "../preact.js";

export function PluginLink({ plugin }) {
  const { query } = useAddress();
  return html`<a href=${href({ view: "plugin", plugin, query })}>${plugin}</a>`;
}

/** So many plugins are named at first. */
const SHOWN = 20;

export function PluginLinks({ plugins }) {
  const [areAll, showAll] = useState(false);
  const shown = areAll ? plugins : plugins.slice(0, SHOWN);
  const more = plugins.length - shown.length;
  return html`
    ${shown.map((plugin, index) => html`${index > 0 && ", "}<${PluginLink} plugin=${plugin} />`)}
    ${more > 0 && html` <button class="small" onClick=${() => showAll(true)}>${more} more</button>`}
  `;
}

/** A plugin that waits, and which ones it waits for, down to the one that has failed. */
export function Because({ plugin }) {
  const plugins = useStore((state) => state.status.plugins);
  const called = (ref) => plugins.find((each) => each.plugin === ref);
  const because = called(plugin)?.receipt.because ?? [];
  const chain = because.filter(called);
  return chain.map((each, index) => html`
    ${index > 0 && html`<span class="muted"> ← </span>`}<${PluginLink} plugin=${each} />
  `);
}
