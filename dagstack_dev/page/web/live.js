// Keeps the store true: one stream of events, and a look at the status after each of them.
// Browsers allow few connections, so that the log that is seen comes by the same stream.

import { follow, Problem } from "./api.js";
import { makeLooks } from "./looks.js";
import { newsOf } from "./news.js";
import { store } from "./store.js";

/** Pauses between attempts to connect, in milliseconds; the last one is kept. */
const RETRY_MS = [250, 500, 1000, 2000, 3000];

/** Events that come within so many milliseconds are answered by one look. */
const TOGETHER_MS = 50;

const looks = makeLooks({ onStatus, onProblem });
let stream = null; // What ends the one that is under way.
let last; // The id of the newest event.
let log = null; // What is asked for of the log, as `followLog` is given it.
let failures = 0;
let reconnection = 0;

/**
 * Follow the server for as long as the page is seen.
 *
 * A page in the background lets go of its connection: browsers allow few of them for a server,
 * and all tabs share these. It is true again as soon as it is looked at.
 */
export function keepTrue() {
  const see = () => {
    store.set({ isSeen: !document.hidden });
    if (document.hidden) release();
    else connect();
  };
  document.addEventListener("visibilitychange", see);
  see();
}

/** Look at once: something was asked for that may send no event. */
export const look = () => looks.after(0);

/**
 * Have `onLine` called with each line that a plugin logs after the one with the id `after`.
 *
 * For one at a time, while the server can be reached; `signal` ends it.
 */
export function followLog({ signal, ...wanted }) {
  if (signal.aborted) return;
  log = wanted;
  if (stream) connect();
  signal.addEventListener("abort", () => {
    if (log !== wanted) return;
    log = null;
    if (stream) connect();
  });
}

function onStatus(status, isNews) {
  store.set({ status, beat: store.get().beat + isNews });
  mark("live");
}

function onProblem(problem) {
  if (problem.isRefusal || problem.isSilence) lose(problem);
}

/** Open the stream, or open it anew for what is asked for by now. */
async function connect() {
  clearTimeout(reconnection);
  stream?.abort();
  const mine = (stream = new AbortController());
  const query = { after: last, log: log?.plugin, log_after: log?.after };
  let problem = null;
  try {
    await follow("events", query, { signal: mine.signal, onOpen, onEvent });
  } catch (found) {
    if (!(found instanceof Problem)) reportError(found); // A defect of ours: the console has it.
    problem = found;
  }
  if (stream === mine) lose(problem);
}

function onOpen(id) {
  last = id;
  failures = 0;
  looks.begin();
}

function onEvent(event, type) {
  if (type === "log") {
    log.after = event.id;
    log.onLine(event);
    return;
  }
  last = event.id;
  const news = newsOf(event, store.get().news);
  if (news) store.set({ news });
  looks.after(TOGETHER_MS);
}

function release() {
  clearTimeout(reconnection);
  stream?.abort();
  stream = null;
  looks.end();
}

function lose(problem) {
  release();
  reconnection = setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  mark(problem?.isRefusal ? "refused" : "lost", problem?.message);
}

function mark(state, why = "") {
  const { link } = store.get();
  if (link.state === state) return;
  const since = ["lost", "refused"].includes(link.state) ? link.since : Date.now();
  store.set({ link: { state, why, since } });
}
