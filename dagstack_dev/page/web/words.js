// Numbers, times and paths as a person reads them.

const UNITS = [
  [86_400, "d"],
  [3600, "h"],
  [60, "min"],
];

/** How long ago a moment was: `3 min`. */
export function ago(moment, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(moment)) / 1000);
  const unit = UNITS.find(([size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : `${Math.floor(seconds)} s`;
}

/** Milliseconds: `24 ms`, `1.3 ms`, `2.5 s`. */
export function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** The local time of day: `14:03:22`. */
export function clock(moment) {
  return new Date(moment).toLocaleTimeString("en-GB");
}

/** `1,000`. */
export const number = (value) => value.toLocaleString("en");

/** `1 plugin`, `2 plugins`. */
export function count(value, noun) {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** `a, b, c and 4 more`. */
export function names(all, most = 3) {
  const more = all.length - most;
  return more > 0 ? `${all.slice(0, most).join(", ")} and ${more} more` : all.join(", ");
}

/** A text with the paths below the folders that hold the roots relative to them. */
export function short(text, roots = []) {
  const folders = roots.map((root) => root.replace(/[^/]+\/?$/, "")).filter((each) => each !== "/");
  return folders.reduce((shortened, folder) => shortened.replaceAll(folder, ""), text);
}

/** The first line of a text. */
export function headline(text) {
  return text.split("\n", 1)[0];
}
