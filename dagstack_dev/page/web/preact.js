// What the page is made with: preact, its hooks, and `html` for templates.
import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export * from "./vendor/hooks.js";
export * from "./vendor/preact.js";
export const html = htm.bind(h);
