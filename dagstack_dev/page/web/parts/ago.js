// How long ago something was; it goes on counting.

import { makeStore, useStore } from "../store.js";
import { html } from "../preact.js";
import { ago, clock } from "../words.js";

const time = makeStore({ now: Date.now() });
setInterval(() => document.hidden || time.set({ now: Date.now() }), 1000);

export function Ago({ moment }) {
  const words = useStore(({ now }) => ago(moment, Math.max(now, Date.parse(moment) || 0)), time);
  return html`<time title=${clock(moment)}>${words}</time>`;
}
