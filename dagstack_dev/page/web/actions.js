// What a reader can have done. What is in the way is reported at the bottom of the page.

import { get, post } from "./api.js";
import { look } from "./live.js";
import { report } from "./store.js";
import { showInPerfetto } from "./timeline/perfetto.js";
import { names } from "./words.js";

/** Reload plugins although nothing has changed. What comes of it, events tell. */
export const reload = (plugins) =>
  attempt(`reloading ${names(plugins)}`, () => post("reload", { plugins }));

export const reloadAll = () =>
  attempt("reloading all plugins", () => post("reload", { everything: true }));

export const pause = (paused) =>
  attempt(null, async () => report((await post("pause", { paused })).message));

/** Open a place in the editor of whoever has started the server. */
export const open = (path, line) =>
  attempt(null, async () => report((await post("open", { path, line: line ?? 1 })).message));

export const copy = (text, what) =>
  attempt(null, async () => {
    await navigator.clipboard.writeText(text);
    report(`${what} copied`);
  });

/** Save an answer as a file; a link to it would not be let in. */
export const save = (question, name) =>
  attempt(null, async () => {
    const content = JSON.stringify(await get(question));
    const href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href, download: name }).click();
    URL.revokeObjectURL(href);
  });

export const openInPerfetto = (question, name) =>
  attempt(null, () => showInPerfetto(() => get(question), name));

async function attempt(begun, task) {
  if (begun) report(begun);
  try {
    await task();
  } catch (problem) {
    report(problem.message, "bad");
  }
  look();
}
