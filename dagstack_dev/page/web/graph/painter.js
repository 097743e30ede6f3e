// Draws a picture of the graph on a canvas: only what is in sight, and no more than can be seen.

/** Below this scale names cannot be read: boxes are filled with the colour of their state. */
const READABLE = 0.5;
/** Below this scale nobody sees whether an edge is bent. */
const BENT = 0.35;

/** How much of an edge's colour is seen: there are many of them. */
const FAINT = 0.5;

const LETTERS = '13px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const INSET = 10;

/** A sign for each tone but the quiet one: nothing is said by colour alone. */
const SIGNS = { bad: "✕", warn: "▲", info: "◆" };

/**
 * Draw a picture.
 *
 * context: of a canvas whose pixels are those of the screen times `ratio`.
 * size: of the canvas, in pixels of the page.
 * tones: the tone of a box: "good", "warn", "bad" or "info".
 * isDimmed: whether a box is to step back.
 * chosen: the box that has the focus, or none.
 */
export function paint(context, { picture, camera, size, ratio, colours, tones, isDimmed, chosen }) {
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, size.width, size.height);
  const near = chosen ? new Set([chosen, ...chosen.needs, ...chosen.serves]) : null;
  // In the pixels of the screen, not of the picture: a line of one pixel is quick to draw.
  const at = ({ x, y }) => [camera.x + x * camera.scale, camera.y + y * camera.scale];
  const draw = (lines, colour) => strokeLines(context, lines, { at, camera, size, colour });
  const isNear = (line) => line.includes(chosen);
  context.globalAlpha = FAINT;
  draw(picture.lines.filter((line) => !isNear(line)), colours.muted);
  context.globalAlpha = 1;
  draw(picture.lines.filter(isNear), colours.accent);
  context.font = LETTERS;
  context.textBaseline = "middle";
  for (const box of picture.boxes) {
    const [left, top] = at(box);
    const [width, height] = [box.width * camera.scale, box.height * camera.scale];
    if (left > size.width || top > size.height || left + width < 0 || top + height < 0) continue;
    context.globalAlpha = isDimmed(box) ? 0.25 : 1;
    const tone = tones(box);
    if (camera.scale < READABLE) {
      context.fillStyle = colours[tone];
      context.fillRect(left, top, Math.max(width, 2), Math.max(height, 2));
    } else {
      card(context, { box, left, top, width, height, camera, colours, tone });
    }
    if (!near?.has(box)) continue;
    outline(context, { left, top, width, height }, colours.accent, box === chosen);
  }
  context.globalAlpha = 1;
}

function strokeLines(context, lines, { at, camera, size, colour }) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (const [dependent, dependency] of lines) {
    const [fromX, fromY] = at(side(dependency, dependency.width));
    const [toX, toY] = at(side(dependent, 0));
    if (Math.max(fromX, toX) < 0 || Math.min(fromX, toX) > size.width) continue;
    if (Math.max(fromY, toY) < 0 || Math.min(fromY, toY) > size.height) continue;
    context.moveTo(fromX, fromY);
    if (camera.scale < BENT) {
      context.lineTo(toX, toY);
    } else {
      const bend = Math.max(16 * camera.scale, Math.abs(toX - fromX) / 2);
      context.bezierCurveTo(fromX + bend, fromY, toX - bend, toY, toX, toY);
    }
  }
  context.stroke();
}

/** The middle of the left side of a box, or as far to the right of it as `across` says. */
const side = ({ x, y, height }, across) => ({ x: x + across, y: y + height / 2 });

/** A box with its name, drawn larger or smaller with the picture. */
function card(context, { box, left, top, width, height, camera, colours, tone }) {
  context.fillStyle = colours[`${tone}-ground`];
  context.fillRect(left, top, width, height);
  context.fillStyle = colours[tone];
  context.fillRect(left, top, 3 * camera.scale, height);
  context.save();
  context.translate(left, top + height / 2);
  context.scale(camera.scale, camera.scale);
  context.fillStyle = colours.text;
  const more = box.plugin ? "" : ` ${box.members.length}`;
  context.fillText(box.name + more, INSET, 0);
  if (tone in SIGNS) {
    context.fillStyle = colours[tone];
    context.textAlign = "right";
    context.fillText(SIGNS[tone], box.width - 2, -box.height / 2);
  }
  context.restore();
}

function outline(context, { left, top, width, height }, colour, isChosen) {
  context.strokeStyle = colour;
  context.lineWidth = isChosen ? 3 : 1;
  context.strokeRect(left - 1, top - 1, width + 2, height + 2);
}

const GROUNDS = ["good-ground", "warn-ground", "bad-ground", "info-ground"];
const NAMES = ["text", "muted", "accent", "good", "warn", "bad", ...GROUNDS];

/** The colours of the page, as a canvas takes them: by name, and `info` for the accent. */
export function coloursOf(element) {
  // A custom property is not resolved by itself: the colour of an element is.
  const probe = element.ownerDocument.createElement("span");
  element.after(probe);
  const found = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return { ...found, info: found.accent };
}
