// Reloads as the timeline lists them.

const OUTCOMES = {
  committed: ["done", "good"],
  rolled_back: ["rolled back", "warn"],
  failed: ["failed", "bad"],
};

/** How the outcome of a reload is said, and in which tone. What fails as before is no news. */
export function outcomeOf({ outcome, reason, changed, errors, as_before: old }) {
  if (reason) return [reason, "info"];
  const failed = Object.keys(errors);
  if (outcome !== "failed" || failed.some((each) => !old.includes(each))) return OUTCOMES[outcome];
  const isDone = changed.some((each) => !failed.includes(each));
  const still = `${failed.length} still fail${failed.length === 1 ? "s" : ""}`;
  return [isDone ? `done, ${still}` : still, "warn"];
}

/** The plugins that a reload was about: first those that it was for, last what fails as before. */
export function pluginsOf({ changed, affected, as_before: old }) {
  const named = new Set([...changed, ...affected]);
  return [...named].sort((one, other) => old.includes(one) - old.includes(other));
}

/** The spans of a reload as rows: first those of the whole, then each plugin's; by their begin. */
export function rowsOf(spans) {
  const rows = new Map();
  for (const span of [...spans].sort((one, other) => one.begin_ms - other.begin_ms)) {
    if (!rows.has(span.plugin)) rows.set(span.plugin, []);
    rows.get(span.plugin).push(span);
  }
  const server = rows.get(null);
  rows.delete(null);
  return [...(server ? [[null, server]] : []), ...rows];
}
