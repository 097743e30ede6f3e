// Where the reader looks at a picture from: an offset in pixels of the screen, and a scale.

const MIN_SCALE = 0.02;
const MAX_SCALE = 2.5;
const MARGIN = 24;

/** The camera from which all of a picture is seen, in the middle; never closer than full size. */
export function fitted({ width, height }, { width: across, height: down }) {
  const room = [across - 2 * MARGIN, down - 2 * MARGIN];
  const scale = bounded(Math.min(room[0] / Math.max(width, 1), room[1] / Math.max(height, 1), 1));
  return { scale, x: (across - width * scale) / 2, y: (down - height * scale) / 2 };
}

export function panned(camera, dx, dy) {
  return { ...camera, x: camera.x + dx, y: camera.y + dy };
}

/** The camera after coming closer by a factor; what is at a point of the screen stays there. */
export function zoomed(camera, factor, { x, y }) {
  const scale = bounded(camera.scale * factor);
  const by = scale / camera.scale;
  return { scale, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by };
}

/** The camera moved just as far as it takes for a box to be on the screen. */
export function showing(camera, box, { width, height }) {
  const [left, top] = [camera.x + box.x * camera.scale, camera.y + box.y * camera.scale];
  const right = left + box.width * camera.scale;
  const bottom = top + box.height * camera.scale;
  return panned(camera, inside(left, right, width), inside(top, bottom, height));
}

/** The point of the picture that is at a point of the screen. */
export function under(camera, { x, y }) {
  return { x: (x - camera.x) / camera.scale, y: (y - camera.y) / camera.scale };
}

function inside(from, to, size) {
  if (from < MARGIN) return MARGIN - from;
  return to > size - MARGIN ? size - MARGIN - to : 0;
}

function bounded(scale) {
  return Math.min(MAX_SCALE, Math.max(MIN_SCALE, scale));
}
