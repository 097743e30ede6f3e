// The canvas of the graph: what it shows, from where, and how the reader moves about in it.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../preact.js";
import { fitted, panned, showing, under, zoomed } from "./camera.js";
import { coloursOf, paint } from "./painter.js";
import { boxAt, neighbour } from "./picture.js";

const STEP = 1.25;
/** How far an arrow key moves what is seen, with Shift; without, it leads along an edge. */
const ARROWS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

/**
 * Show a picture.
 *
 * subject: what it is a picture of; it is shown as a whole whenever this differs.
 * chosen: the name of a box.
 * onOpen: called with a box that is wanted in full.
 */
export function Canvas({ picture, subject, label, tones, isDimmed, chosen, onChoose, onOpen }) {
  const canvas = useRef(null);
  const size = useSize(canvas);
  const colours = useColours(canvas);
  const camera = useRef(null);
  const box = picture.byName.get(chosen) ?? null;
  const draw = useFrame(() => {
    const { current } = canvas;
    if (!current || !camera.current || !colours) return; // The graph may have been left since.
    const ratio = devicePixelRatio;
    const [width, height] = [size.width, size.height].map((each) => Math.round(each * ratio));
    const isSized = current.width === width && current.height === height;
    if (!isSized) Object.assign(current, { width, height }); // Which clears it.
    paint(current.getContext("2d"), {
      picture, camera: camera.current, size, ratio, colours, tones, isDimmed, chosen: box,
    });
  });
  const move = (to) => {
    camera.current = to;
    draw();
  };
  const fit = () => move(fitted(picture, size));
  useLayoutEffect(() => {
    if (size.width > 0) fit();
  }, [subject, size.width > 0]);
  useEffect(draw, [picture, size, colours, tones, isDimmed, box]);
  // It comes after the view, and anew with other data: the keys are for it, if for nothing else.
  useLayoutEffect(() => {
    const { current } = canvas;
    if (document.activeElement.contains(current)) current.focus({ preventScroll: true });
  }, []);

  const choose = (found) => {
    onChoose(found?.name ?? null);
    if (found) move(showing(camera.current, found, size));
  };
  const middle = { x: size.width / 2, y: size.height / 2 };
  const closer = () => move(zoomed(camera.current, STEP, middle));
  const farther = () => move(zoomed(camera.current, 1 / STEP, middle));
  const press = (event) => {
    const { key, shiftKey } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key in ARROWS && shiftKey) move(panned(camera.current, ...ARROWS[key]));
    else if (key in ARROWS) choose(box ? neighbour(picture, box, key) : picture.boxes[0]);
    else if (key === "+" || key === "=") closer();
    else if (key === "-") farther();
    else if (key === "0") fit();
    else if (key === "Enter" && box) onOpen(box);
    else if (key === "Escape" && box) choose(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const pointer = usePointer({
    drag: (dx, dy) => move(panned(camera.current, dx, dy)),
    click: (point) => onChoose(boxAt(picture, under(camera.current, point))?.name ?? null),
    open: (point) => {
      const found = boxAt(picture, under(camera.current, point));
      if (found) onOpen(found);
    },
  });
  useWheel(canvas, (point, factor) => move(zoomed(camera.current, factor, point)));
  return html`
    <canvas
      ref=${canvas}
      role="application"
      aria-roledescription="graph"
      aria-label=${label}
      tabindex="0"
      data-focus
      onKeyDown=${press}
      ...${pointer}
    ></canvas>
    <div class="zoom" role="group" aria-label="View of the graph">
      <button onClick=${closer} aria-label="Closer" title="Closer (+)">+</button>
      <button onClick=${farther} aria-label="Farther" title="Farther (-)">−</button>
      <button onClick=${fit} title="All of it (0)">Fit</button>
    </div>
  `;
}

/** The size of an element in pixels of the page, as it is now. */
function useSize(element) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const look = () => {
      const { clientWidth: width, clientHeight: height } = element.current;
      setSize((now) => (now.width === width && now.height === height ? now : { width, height }));
    };
    look();
    const sizes = new ResizeObserver(look);
    sizes.observe(element.current);
    return () => sizes.disconnect();
  }, []);
  return size;
}

/** The colours of the page, in the scheme that is in force. */
function useColours(element) {
  const [colours, setColours] = useState(null);
  useLayoutEffect(() => {
    const look = () => setColours(coloursOf(element.current));
    look();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", look);
    return () => scheme.removeEventListener("change", look);
  }, []);
  return colours;
}

/** Return what has `work` done in the next frame: once, however often it is asked for. */
function useFrame(work) {
  const now = useRef(work);
  now.current = work;
  return useMemo(() => {
    let frame = 0;
    return () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        now.current();
      });
    };
  }, []);
}

/** The handlers of a pointer that drags, clicks, or opens by a second click. */
function usePointer({ drag, click, open }) {
  const held = useRef(null);
  return {
    onPointerDown(event) {
      held.current = { x: event.offsetX, y: event.offsetY, hasMoved: false };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove({ offsetX, offsetY }) {
      const { current } = held;
      if (!current) return;
      const [dx, dy] = [offsetX - current.x, offsetY - current.y];
      if (!current.hasMoved && Math.hypot(dx, dy) < 4) return;
      held.current = { x: offsetX, y: offsetY, hasMoved: true };
      drag(dx, dy);
    },
    onPointerUp({ offsetX, offsetY }) {
      if (held.current && !held.current.hasMoved) click({ x: offsetX, y: offsetY });
      held.current = null;
    },
    onPointerCancel() {
      held.current = null;
    },
    onDblClick: ({ offsetX, offsetY }) => open({ x: offsetX, y: offsetY }),
  };
}

/** Have the wheel zoom; as a listener that may keep the page from scrolling. */
function useWheel(element, zoom) {
  const now = useRef(zoom);
  now.current = zoom;
  useEffect(() => {
    const { current } = element;
    const turn = (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      const factor = Math.exp((-event.deltaY * lines) / (event.ctrlKey ? 120 : 400));
      now.current({ x: event.offsetX, y: event.offsetY }, factor);
    };
    current.addEventListener("wheel", turn, { passive: false });
    return () => current.removeEventListener("wheel", turn);
  }, []);
}
