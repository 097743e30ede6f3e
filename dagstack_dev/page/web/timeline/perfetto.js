// Hands a trace to Perfetto, from this tab to one that it opens; it goes nowhere else.

const PERFETTO = "https://ui.perfetto.dev";
const ASK_MS = 100;
const PATIENCE_MS = 30_000;

/**
 * Show a trace in Perfetto.
 *
 * ask: asks for the trace, as `GET /api/trace` answers; once there is a tab, which a browser opens
 *   only right after a click.
 * title: what it is called there.
 *
 * Resolves once Perfetto has it. Rejects where the browser opens no window, or nothing answers.
 */
export async function showInPerfetto(ask, title) {
  const tab = window.open(PERFETTO);
  if (!tab) throw new Error("the browser has opened no tab: allow pop-ups for this page");
  const [trace] = await Promise.all([ask(), isThere(tab)]);
  const buffer = new TextEncoder().encode(JSON.stringify(trace)).buffer;
  tab.postMessage({ perfetto: { buffer, title } }, PERFETTO);
}

/** Perfetto answers PONG to a PING as soon as it can take a trace. */
function isThere(tab) {
  return new Promise((resolve, reject) => {
    const asking = setInterval(() => tab.postMessage("PING", PERFETTO), ASK_MS);
    const refuse = () => reject(new Error("Perfetto has not answered"));
    const patience = setTimeout(() => end(refuse), PATIENCE_MS);
    const hear = ({ data, origin, source }) =>
      source === tab && origin === PERFETTO && data === "PONG" && end(resolve);
    const end = (settle) => {
      clearInterval(asking);
      clearTimeout(patience);
      removeEventListener("message", hear);
      settle();
    };
    addEventListener("message", hear);
  });
}
