// What is logged, as it happens.

import { get } from "../api.js";
import { followLog } from "../live.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../preact.js";
import { useStore } from "../store.js";
import { said } from "../trouble.js";
import { clock, short } from "../words.js";

const LINES_LIMIT = 500;

/** Fields that say what the event or the place of the line says already. */
const UNTOLD = ["plugin", "logger", "from_state", "to_state"];

/** The log of a plugin. */
export function Log({ plugin }) {
  const lines = useLog(plugin);
  const list = useRef(null);
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    if (isAtEnd.current) list.current.scrollTop = list.current.scrollHeight;
  }, [lines]);
  const follow = ({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
    isAtEnd.current = scrollTop + clientHeight > scrollHeight - 8;
  };
  return html`<${Lines} lines=${lines} list=${list} onScroll=${follow} />`;
}

/** Lines of a log; `list` is given the element that they are in. */
export function Lines({ lines, list = null, ...handlers }) {
  return html`
    <div
      class="log"
      ref=${list}
      tabindex="0"
      role="log"
      aria-live="off"
      aria-label="Log"
      ...${handlers}
    >
      ${lines.length === 0 && html`<p class="muted">Nothing logged yet.</p>`}
      ${lines.map((line) => html`<${Line} key=${line.id} ...${line} />`)}
    </div>
  `;
}

function Line({ timestamp, level, event, fields }) {
  const roots = useStore((state) => state.status.roots);
  const told = Object.entries(fields).filter(
    ([name, value]) => !UNTOLD.includes(name) && value !== null && value !== "",
  );
  const isQuiet = level === "info" || level === "debug";
  return html`
    <div class="line ${level}">
      <time>${clock(timestamp)}</time>${!isQuiet && html` <b>${level}</b>`} ${event}
      <span class="field">${told.map(
        ([name, value]) => ` ${name}=${short(inWords(value), roots)}`,
      )}</span>
    </div>
  `;
}

function inWords(value) {
  if (typeof value === "string") return value;
  if (!value.type || !("message" in value)) return JSON.stringify(value);
  return value.path ? `${said(value)} at ${value.path}:${value.line}` : said(value);
}

/** The newest lines of the log of a plugin; those to come as they come. */
function useLog(plugin) {
  const isLive = useStore(({ link, isSeen }) => isSeen && link.state === "live");
  const [lines, setLines] = useState([]);
  useEffect(() => {
    if (!isLive) return undefined;
    const ending = new AbortController();
    const { signal } = ending;
    const onLine = (line) => setLines((before) => [...before.slice(1 - LINES_LIMIT), line]);
    const begin = async () => {
      const { events, last: after } = await get("logs", { plugin, limit: LINES_LIMIT }, { signal });
      setLines(events);
      followLog({ plugin, after, onLine, signal });
    };
    begin().catch(() => {}); // The link is lost; it says so itself.
    return () => ending.abort();
  }, [plugin, isLive]);
  return lines;
}
