// The address of what is shown, behind the #: `#/plugin/tool/greeter?filter=kind:tool`.

import { makeStore, useStore } from "./store.js";

/** `{view, plugin, query}` of the part of an address behind the #. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [view, ...parts] = path.split("/").map(decoded);
  return {
    view: view || "inventory",
    plugin: parts.length === 2 ? parts.join("/") : null,
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** The part of an address behind the #, with it. */
export function href({ view, plugin = null, query = {} }) {
  const parts = [view, ...(plugin?.split("/") ?? [])].map(encodeURIComponent);
  const given = Object.entries(query).filter(([, value]) => value);
  const text = new URLSearchParams(given).toString();
  return `#/${parts.join("/")}${text && `?${text}`}`;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // Typed by hand.
  }
}

const place = makeStore(parse(location.hash));
const follow = () => place.set(parse(location.hash));
let hasMoved = false;
addEventListener("hashchange", () => {
  hasMoved = true;
  follow();
});

/** Where we are. */
export const useAddress = () => useStore((state) => state, place);

/** Go somewhere; the browser's way back leads here. What is in the query of both stays. */
export function go(target) {
  location.hash = href({ query: place.get().query, ...target });
}

/** Go back to where we came from; to the inventory, if the page was opened just here. */
export function back() {
  if (hasMoved) history.back();
  else go({ view: "inventory" });
}

/** Change parts of the query, in place: there is no way back to each letter that was typed. */
export function amend(changes) {
  const now = place.get();
  history.replaceState(null, "", href({ ...now, query: { ...now.query, ...changes } }));
  follow();
}
