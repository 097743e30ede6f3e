// What `GET /api/graph` answers, made ready to be drawn and walked through.

/** The mark of a group's name; no plugin has it in its name. */
const ALL = "/*";

/**
 * Make the picture of a graph.
 *
 * It holds boxes, each with its name (a plugin, or `GROUP/*` for plugins that are folded into
 * one box), and edges between them. It knows nothing of states: as long as no dependency
 * changes, it is the same.
 */
export function makePicture({ width, height, nodes, edges }) {
  const boxes = nodes.map((node) => ({
    ...node,
    name: node.plugin ?? node.group + ALL,
    members: node.plugin ? [node.plugin] : node.plugins,
    needs: [],
    serves: [],
  }));
  const byName = new Map(boxes.map((box) => [box.name, box]));
  const lines = edges.map(([from, to]) => [byName.get(from), byName.get(to)]);
  for (const [from, to] of lines) {
    from.needs.push(to);
    to.serves.push(from);
  }
  return { width, height, boxes, byName, lines };
}

/** The box at a point of the picture, if there is one. */
export function boxAt({ boxes }, { x, y }) {
  return boxes.find(
    (box) => x >= box.x && x <= box.x + box.width && y >= box.y && y <= box.y + box.height,
  );
}

/**
 * The box that an arrow key leads to: left to what it depends on, right to what depends on it, the
 * nearest first; up and down in its column. The same box where there is none.
 */
export function neighbour(picture, box, key) {
  const near = (boxes) => least(boxes, (each) => Math.abs(each.y - box.y));
  if (key === "ArrowLeft") return near(box.needs) ?? box;
  if (key === "ArrowRight") return near(box.serves) ?? box;
  const sign = key === "ArrowUp" ? -1 : 1;
  const column = picture.boxes.filter(
    (each) => overlap(each, box) && sign * (each.y - box.y) > 0,
  );
  return near(column) ?? box;
}

function overlap(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width;
}

function least(items, measure) {
  return items.reduce(
    (best, each) => (best === undefined || measure(each) < measure(best) ? each : best),
    undefined,
  );
}
