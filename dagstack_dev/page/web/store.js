// The one state of the page, and how components see it.

import { useEffect, useRef, useState } from "./preact.js";

/** Make a store: what is in it is replaced, never changed. */
export function makeStore(initial) {
  let state = initial;
  const listeners = new Set();
  return {
    get: () => state,
    set(changes) {
      state = { ...state, ...changes };
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * All that the page knows.
 *
 * isSeen: whether anybody sees the page; in the background, it asks for nothing.
 * link: the connection: `connecting`, `live`, `lost` or `refused`, why, and since when it is gone.
 * status: the last answer to `GET /api/status`; null before the first.
 * beat: counts the events that are reflected in `status`: what else is shown is asked for again.
 * news: what was reported last, as `{text, tone}`: of a reload, or of an action.
 */
export const store = makeStore({
  isSeen: !document.hidden,
  link: { state: "connecting", since: Date.now() },
  status: null,
  beat: 0,
  news: null,
});

/** A part of the state, as `pick` takes it out: the component is drawn again when it differs. */
export function useStore(pick, from = store) {
  const [, draw] = useState(0);
  const drawn = useRef(null);
  drawn.current = { pick, value: pick(from.get()) };
  useEffect(() => {
    const look = () => {
      const { pick: take, value } = drawn.current;
      if (!Object.is(take(from.get()), value)) draw((count) => count + 1);
    };
    look(); // It may have changed since the component was drawn.
    return from.subscribe(look);
  }, [from]);
  return drawn.current.value;
}

/** Report something to the reader: in the bar at the bottom, and to a screen reader. */
export function report(text, tone = "info") {
  store.set({ news: { text, tone, at: Date.now() } });
}
