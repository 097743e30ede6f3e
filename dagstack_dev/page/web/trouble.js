// What is wrong, as the status of the server tells it.

/** How many plugins and files have something wrong of their own: not of what they wait for. */
export function failuresOf(status) {
  if (status === null) return 0;
  const { plugins, refused } = status;
  const known = new Set(plugins.map(({ plugin }) => plugin));
  const missing = plugins.flatMap((each) => each.blocked_by).filter((ref) => !known.has(ref));
  return plugins.filter(hasFailed).length + Object.keys(refused).length + new Set(missing).size;
}

/** Whether something is wrong with a plugin itself. */
export const hasFailed = ({ error, state }) => error !== null && state !== "blocked";

/** Why a plugin does not run what is on disk, in a line; empty where it does. */
export const whyNot = (plugin) => wrongWith(plugin) || (plugin.receipt.reason ?? "");

/** The error of a plugin, or of what it waits for, in a line; empty where there is none. */
export function wrongWith({ plugin, error, receipt }) {
  if (error) return said(error, plugin);
  const [, ...because] = receipt.because;
  return because.length ? `← ${because.join(" ← ")}` : "";
}

/** An error in a line; without the name of the plugin that the reader knows it is about. */
export function said({ type, message }, plugin = null) {
  const own = message.startsWith(`${plugin}: `) ? message.slice(plugin.length + 2) : message;
  return own ? `${type}: ${own}` : type;
}

const TONES = { ready: "good", failed: "bad", blocked: "warn" };

/** The tone of a state. */
export const toneOf = (state) => TONES[state] ?? "info";
