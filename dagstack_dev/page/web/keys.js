// The keyboard: what a component does upon which key, for as long as it is there.

import { useLayoutEffect, useRef } from "./preact.js";
import { makeStore } from "./store.js";

const EDITABLE = "input:not([type=checkbox]), textarea, select, [contenteditable]";
const WITH_ENTER = "a, button, summary";

const SETTING = "dagstack-dev-keys";

/** Whether letters and signs do something. Who speaks to the computer, may not want that. */
export const letters = makeStore({ areOn: !document.cookie.includes(`${SETTING}=off`) });

/** Have letters and signs do something or nothing; this browser remembers it. */
export function switchLetters(areOn) {
  // As a cookie: a new run of the server clears whatever else a page of it has stored.
  document.cookie = `${SETTING}=${areOn ? "on" : "off"}; SameSite=Strict; max-age=31536000`;
  letters.set({ areOn });
}

/**
 * Have keys do something, wherever the focus is but in a field that is typed into.
 *
 * actions: functions by the key's name, as in `KeyboardEvent.key`; one that returns false has
 *   not dealt with it.
 */
export function useKeys(actions) {
  const now = useRef(actions);
  now.current = actions;
  useLayoutEffect(() => {
    const press = (event) => {
      const action = now.current[event.key];
      if (!action || event.defaultPrevented || !isFree(event)) return;
      if (action(event) !== false) event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, []);
}

/** Whether a key is not meant for the element that has the focus, or for the browser. */
function isFree({ key, target, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey || document.querySelector("dialog[open]")) return false;
  if (target.closest?.(EDITABLE) || (key.length === 1 && !letters.get().areOn)) return false;
  return !(key === "Enter" && target.closest?.(WITH_ENTER));
}
