// The views of the page, one line each: its name in the address, its key, and what draws it.

import { Errors } from "./views/errors.js";
import { Graph } from "./views/graph.js";
import { Inventory } from "./views/inventory.js";
import { Plugin } from "./views/plugin.js";
import { Timeline } from "./views/timeline.js";

/** Those that the navigation leads to. */
export const VIEWS = [
  { name: "inventory", key: "i", title: "Inventory", View: Inventory },
  { name: "graph", key: "g", title: "Graph", View: Graph },
  { name: "timeline", key: "t", title: "Timeline", View: Timeline },
  { name: "errors", key: "e", title: "Errors", View: Errors },
];

/** The view of an address; of one that nobody knows, the first. */
export function viewOf({ view, plugin }) {
  if (view === "plugin" && plugin) return { name: "plugin", title: plugin, View: Plugin };
  return VIEWS.find(({ name }) => name === view) ?? VIEWS[0];
}
