// Which events are worth a line at the bottom of the page, and what it says.

import { said } from "./trouble.js";
import { count, duration, headline, names } from "./words.js";

/** The state that each plugin got to last, and those that came: no end of a reload tells that. */
const reached = new Map();
const came = new Set();

/** Reloads that no edit has caused: what failed is tried again. */
const retries = new Set();

function note({ plugin, to_state: state, reload_id: reload, paths }) {
  if (state) reached.set(plugin, state);
  if (state === "discovered" && reload !== null) came.add(plugin);
  if (paths?.length === 0) retries.add(reload);
}

const LINES = {
  "reload.committed": ({ changed, affected, duration_ms }) => {
    const added = changed.filter((each) => came.delete(each));
    const reloaded = changed.filter((each) => !added.includes(each));
    const others = affected.filter((each) => !changed.includes(each));
    const those = (state) => others.filter((each) => reached.get(each) === state);
    const waiting = those("blocked");
    const again = those("ready").length;
    const told = [
      [names(reloaded), "reloaded"],
      [names(added), "added"],
      [again && count(again, "dependent"), "set up again"],
      [names(those("removed")), "removed"],
      [names(waiting), waiting.length > 1 ? "wait" : "waits"],
    ].filter(([who]) => who);
    if (!told.length) return null;
    const text = told.map((each) => each.join(" ")).join(", ");
    return { tone: waiting.length ? "warn" : "good", text: `${text}, in ${duration(duration_ms)}` };
  },
  "reload.rolled_back": ({ errors, running }) => {
    const [[plugin, number], ...others] = Object.entries(running);
    const kept = others.length
      ? `${count(1 + others.length, "plugin")} run on as before`
      : `generation ${number} of ${plugin} runs on`;
    return { tone: "bad", text: `${failed(errors)}; rolled back, ${kept}` };
  },
  "reload.failed": ({ changed, errors, as_before: old }) => {
    const news = Object.entries(errors).filter(([plugin]) => !old.includes(plugin));
    if (news.length) return { tone: "bad", text: failed(Object.fromEntries(news)) };
    const done = changed.filter((each) => !(each in errors));
    const still = `${names(old)} still fail${old.length === 1 ? "s" : ""}`;
    if (done.length) return { tone: "warn", text: `${names(done)} reloaded; ${still}` };
    return { tone: "bad", text: failed(errors, "still fails"), isOld: true };
  },
  "plugin.rejected": ({ plugin, path, error, keeps_generation }) => {
    const kept = keeps_generation ? `; generation ${keeps_generation} runs on` : "";
    return { tone: "bad", text: `${plugin ?? path} rejected: ${inLine(error, plugin)}${kept}` };
  },
  "plugin.failed": ({ plugin, reload_id, error }) =>
    reload_id === null && { tone: "bad", text: `${plugin} failed: ${inLine(error, plugin)}` },
  "plugin.fixed": ({ plugin, path, message }) => ({
    tone: "good",
    text: `${plugin ?? path} fixed: ${message}`,
  }),
  "plugin.leaked": ({ plugin, generation }) => ({
    tone: "warn",
    text: `generation ${generation} of ${plugin} is still held`,
  }),
  "watch.problem": ({ message, path }) => ({ tone: "warn", text: `${path}: ${message}` }),
};

const inLine = (error, plugin) => headline(said(error, plugin));

function failed(errors, how = "failed") {
  const [[plugin, error], ...more] = Object.entries(errors);
  const others = more.length ? `, and ${count(more.length, "plugin")} more` : "";
  return `${plugin} ${how}: ${inLine(error, plugin)}${others}`;
}

/**
 * What an event is to the reader, as `{text, tone, at}`; null where it is nothing to them.
 *
 * last: the news before. What fails as before does not take the place of what the same reload has
 *   reported, nor, where nobody has asked for it, of what another has.
 */
export function newsOf({ event, fields, timestamp }, last = null) {
  note(fields);
  const news = LINES[event]?.(fields);
  const reload = fields.reload_id ?? null;
  const before = last?.reload ?? null;
  const isOfLast = before !== null && (reload === before || retries.has(reload));
  if (!news || (news.isOld && isOfLast)) return null;
  return { ...news, reload, at: Date.parse(timestamp) };
}
