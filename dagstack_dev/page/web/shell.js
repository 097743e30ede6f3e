// What is around every view: title, navigation, how the server is, actions, and the last news.

import { pause, reloadAll } from "./actions.js";
import { go, href, useAddress } from "./address.js";
import { Help } from "./help.js";
import { useKeys } from "./keys.js";
import { Ago } from "./parts/ago.js";
import { Lost, Situation } from "./situation.js";
import { useStore } from "./store.js";
import { html, useEffect, useErrorBoundary, useLayoutEffect, useRef, useState } from "./preact.js";
import { VIEWS, viewOf } from "./views.js";
import { failuresOf } from "./trouble.js";
import { number, short } from "./words.js";

export function Shell() {
  const address = useAddress();
  const { name, title, View } = viewOf(address);
  const isKnown = useStore((state) => state.status !== null);
  const [isHelping, setHelping] = useState(false);
  const main = useRef(null);
  useTitle(title);
  useFocusOnArrival(main, `${name} ${address.plugin}`);
  const { isPaused, togglePause } = usePause();
  useKeys({
    "?": () => setHelping(true),
    p: () => void togglePause(),
    R: () => void reloadAll(),
    ...Object.fromEntries(VIEWS.map((each) => [each.key, () => go({ view: each.name })])),
  });
  const skip = (event) => {
    event.preventDefault(); // The part of the address behind the # is the view.
    main.current.focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="bar">
      <${Brand} />
      <nav aria-label="Views">
        ${VIEWS.map((each) => html`<${Tab} ...${each} isHere=${each.name === name} />`)}
      </nav>
      <${Situation} />
      <div class="actions" role="group" aria-label="Server">
        <button onClick=${togglePause} disabled=${!isKnown}>
          ${isPaused ? "Resume" : "Pause"}
        </button>
        <button onClick=${reloadAll} disabled=${!isKnown}>Reload all</button>
        <button onClick=${() => setHelping(true)} aria-label="Keys" title="Keys (?)">?</button>
      </div>
    </header>
    <${Lost} />
    <main id="main" tabindex="-1" ref=${main}>
      ${isKnown
        ? html`<${Caught} key=${`${name} ${address.plugin}`}><${View} /><//>`
        : html`<${Connecting} />`}
    </main>
    <${News} />
    ${isHelping && html`<${Help} onClose=${() => setHelping(false)} />`}
  `;
}

/** A view; where it cannot be drawn, why: the rest of the page, and other views, go on. */
function Caught({ children }) {
  const [error] = useErrorBoundary((found) => reportError(found)); // The browser's console has it.
  if (!error) return children;
  return html`<p class="empty bad" role="alert">This view has a defect: ${error.message}</p>`;
}

function Connecting() {
  return html`<p class="empty">Connecting …</p>`;
}

function Brand() {
  const roots = useStore((state) => state.status?.roots);
  return html`
    <div class="brand">
      <strong>dagstack-dev</strong>
      <span class="roots" title=${roots?.join("\n")}>${short(roots?.join(", ") ?? "", roots)}</span>
    </div>
  `;
}

function Tab({ name, title, isHere }) {
  const { query } = useAddress();
  const failures = useStore((state) => failuresOf(state.status));
  const isCounted = name === "errors" && failures > 0;
  return html`
    <a href=${href({ view: name, query })} aria-current=${isHere ? "page" : null}>
      ${title}${isCounted && html` <span class="count">${number(failures)}</span>`}
    </a>
  `;
}

function usePause() {
  const isPaused = useStore((state) => state.status?.is_paused ?? false);
  return { isPaused, togglePause: () => pause(!isPaused) };
}

function useTitle(title) {
  const failures = useStore((state) => failuresOf(state.status));
  useEffect(() => {
    document.title = `${failures ? `(${failures}) ` : ""}${title} · dagstack-dev`;
  }, [title, failures]);
}

/** Where the view has changed, what the view begins with gets the focus. */
function useFocusOnArrival(main, place) {
  const isFirst = useRef(true);
  useLayoutEffect(() => {
    if (!isFirst.current) {
      const first = main.current.querySelector("[data-focus]") ?? main.current;
      first.focus({ preventScroll: true });
    }
    isFirst.current = false;
  }, [place]);
}

/** The last news. A screen reader says them; they are not to be missed by others, either. */
function News() {
  const news = useStore((state) => state.news);
  const roots = useStore((state) => state.status?.roots);
  return html`
    <footer class="news ${news?.tone ?? ""}">
      <span role="status">${short(news?.text ?? "", roots)}</span>
      ${news && html` <span class="muted"><${Ago} moment=${news.at} /> ago</span>`}
    </footer>
  `;
}
