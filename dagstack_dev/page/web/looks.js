// Looks at the status of the server: one look at a time, when something happened and now and then.

import { get } from "./api.js";

/** A server that says nothing for so many milliseconds is stopped, or what leads to it is. */
const PATIENCE_MS = 10_000;

/** Not sooner than after so many milliseconds, a look comes that nothing has caused. */
const IDLE_MS = 2000;
/** And not sooner than so many times as long as the last one took: it may be of 10,000 plugins. */
const IDLE_SHARE = 50;

/**
 * Make what looks.
 *
 * An event loop that is blocked sends no events, so there are looks without them as well.
 *
 * onStatus: called with each answer, and whether something had happened before it.
 * onProblem: called with a `Problem` in its place.
 */
export function makeLooks({ onStatus, onProblem }) {
  let timer = 0;
  let due = Infinity; // When the next one is to begin; none while one is under way.
  let isLooking = false;
  let isBegun = false;
  let isNews = false;

  async function look() {
    due = Infinity;
    isLooking = true;
    const [began, wasNews] = [performance.now(), isNews];
    isNews = false;
    try {
      const patience = AbortSignal.timeout(PATIENCE_MS);
      const status = await get("status", {}, { signal: patience });
      if (isBegun) onStatus(status, wasNews);
    } catch (problem) {
      if (isBegun) onProblem(problem);
    }
    isLooking = false;
    const took = performance.now() - began;
    if (isBegun) plan(isNews ? took : Math.max(IDLE_MS, IDLE_SHARE * took));
  }

  function plan(ms) {
    const at = performance.now() + ms;
    if (isLooking || at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(look, ms);
  }

  return {
    /** Look now, and now and then from now on; if that has not begun yet. */
    begin() {
      if (isBegun) return;
      isBegun = true;
      this.after(0);
    },
    /** Something has happened: look after some milliseconds. */
    after(ms) {
      if (!isBegun) return;
      isNews = true;
      plan(ms);
    },
    end() {
      isBegun = false;
      clearTimeout(timer);
      due = Infinity;
    },
  };
}
