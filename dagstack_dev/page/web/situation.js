// How the server is, in a line; and what to do when it cannot be reached.

import { useStore } from "./store.js";
import { failuresOf } from "./trouble.js";
import { html } from "./preact.js";
import { clock, count, number, short } from "./words.js";

/** One word, its mark, and what there is to say. */
export function Situation() {
  const link = useStore((state) => state.link);
  const status = useStore((state) => state.status);
  const { tone, word, more } = situation(link, status);
  return html`
    <p class="situation ${tone}">
      <span class="mark">${word}</span>${more && html` <span class="muted">${more}</span>`}
    </p>
  `;
}

function situation(link, status) {
  if (link.state === "connecting" || status === null) return { tone: "", word: "connecting" };
  if (link.state !== "live") return { tone: "bad", word: "disconnected" };
  const { main_loop: loop, plugins } = status;
  if (!loop.is_responding) {
    return { tone: "bad", word: "blocked", more: blockedBy(loop, status.roots) };
  }
  if (status.is_paused) {
    const waiting = status.has_edits_waiting ? "edits wait" : "edits will wait";
    return { tone: "warn", word: "paused", more: waiting };
  }
  if (status.is_busy) return { tone: "info", word: "busy", more: "a reload is under way" };
  if (status.is_current) {
    return { tone: "good", word: "current", more: `${count(plugins.length, "plugin")} as on disk` };
  }
  const behind = plugins.filter((each) => !each.receipt.is_current).length;
  const failures = failuresOf(status);
  return {
    tone: failures ? "bad" : "warn",
    word: failures ? "failing" : "behind",
    more: behind ? `${number(behind)} of ${count(plugins.length, "plugin")} not as on disk` : "",
  };
}

function blockedBy({ at, plugin, blocked_seconds: seconds, is_at_least }, roots) {
  const where = at ? ` at ${short(at, roots)}` : "";
  const whose = plugin ? ` (${plugin})` : "";
  return `for ${is_at_least ? "at least " : ""}${seconds.toFixed(1)} s${where}${whose}`;
}

/** A notice across the page while there is no connection: what is shown may be out of date. */
export function Lost() {
  const { state, why, since } = useStore((now) => now.link);
  if (state !== "lost" && state !== "refused") return null;
  return html`
    <p class="lost" role="alert">
      <strong>Disconnected since ${clock(since)}</strong>${" "}
      ${state === "lost"
        ? "Trying again. What you see is how it was then."
        : `The server has been started anew: ${why}. This page then goes on by itself.`}
    </p>
  `;
}
