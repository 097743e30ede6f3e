// Which plugins a filter means: `kind:tool`, `state:failed`, `name`, `+name`, `name+`, `2+name`.

import { names } from "./words.js";

/**
 * Return the plugins that fit every term of a filter, in the order given.
 *
 * `name` is any part of a plugin's name, kind, state or last error; `+name` adds all that it
 * depends on and `name+` all that depends on it, a number beside the plus for so many steps.
 *
 * filter: the text.
 * plugins: as `GET /api/status` reports them.
 */
export function select(filter, plugins) {
  return termsOf(filter).reduce((left, term) => {
    const fits = test(term, plugins);
    return left.filter(fits);
  }, plugins);
}

/**
 * Return what keys and values there are, in a line for each term of a filter that names others.
 *
 * Of the values, those that a plugin has now.
 */
export function unknownIn(filter, plugins) {
  return termsOf(filter).flatMap((term) => {
    const [, key, list] = term.match(PAIR) ?? [];
    if (!key) return [];
    if (!Object.hasOwn(KEYS, key)) {
      const keys = Object.keys(KEYS).map((each) => `${each}:`);
      return [`There is no ${key}: to filter by; there is ${names(keys)}.`];
    }
    if (plugins.some(test(term, plugins))) return [];
    const values = [...new Set(plugins.flatMap(KEYS[key]))].sort();
    return [`No plugin has the ${key} ${list}; there is ${names(values, MOST_NAMED)}.`];
  });
}

/** What can be asked of a plugin by `key:value`, and its values. */
const KEYS = {
  kind: ({ plugin }) => [plugin.split("/")[0]],
  name: ({ plugin }) => [plugin.split("/")[1]],
  state: (each) => [
    each.state,
    ...(each.receipt.is_current ? ["current"] : []),
    ...(each.receipt.pending ? ["pending"] : []),
    ...(each.degraded ? ["degraded"] : []),
    ...(each.requires_restart ? ["restart"] : []),
  ],
};

const PAIR = /^(\w+):(.+)$/;

/** Values of a key that are named, of many. */
const MOST_NAMED = 12;

const termsOf = (filter) => filter.trim().split(/\s+/).filter(Boolean);

/** Return the test of one term. */
function test(term, plugins) {
  const [, key, list] = term.match(PAIR) ?? [];
  if (Object.hasOwn(KEYS, key)) {
    const wanted = list.toLowerCase().split(",");
    return (each) => KEYS[key](each).some((value) => wanted.includes(value.toLowerCase()));
  }
  const [, up, name, down] = term.match(/^(\d*\+)?([^+]+)(\+\d*)?$/) ?? [];
  if (!up && !down) return (each) => textOf(each).includes(term.toLowerCase());
  const byRef = new Map(plugins.map((each) => [each.plugin, each]));
  const begin = named(name, plugins);
  const found = new Set(begin);
  if (up) reach(begin, "depends_on", steps(up), byRef, found);
  if (down) reach(begin, "dependents", steps(down), byRef, found);
  return (each) => found.has(each.plugin);
}

function textOf({ plugin, state, error }) {
  return `${plugin} ${state} ${error?.message ?? ""}`.toLowerCase();
}

/** The plugins of just this name, with its kind or without; else those that contain it. */
function named(name, plugins) {
  const refs = plugins.map((each) => each.plugin);
  const exact = refs.filter((ref) => ref === name || ref.endsWith(`/${name}`));
  return exact.length ? exact : refs.filter((ref) => ref.includes(name));
}

function steps(sign) {
  const number = sign.replace("+", "");
  return number ? Number(number) : Infinity;
}

function reach(begin, edges, most, byRef, found) {
  const seen = new Set(begin);
  let near = begin;
  for (let step = 0; near.length && step < most; step++) {
    const next = near.flatMap((ref) => byRef.get(ref)?.[edges] ?? []);
    near = [...new Set(next)].filter((ref) => byRef.has(ref) && !seen.has(ref));
    for (const ref of near) seen.add(ref);
  }
  for (const ref of seen) found.add(ref);
}
