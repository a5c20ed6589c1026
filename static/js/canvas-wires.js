// Cables of a card that is being moved: stretched here for the moment, drawn anew by the server afterwards.

const CORNER_R = 10;

const wiring = () => document.getElementById("wiring");

/** An SVG path through the points, with rounded corners: the same as poly() in editor/canvas/shapes.py. */
export function poly(points, radius = CORNER_R) {
  const toward = (start, end) => {
    const length = Math.max(Math.abs(end[0] - start[0]), Math.abs(end[1] - start[1])) || 1;
    const share = Math.min(radius, length / 2) / length;
    return [start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share];
  };
  let path = `M${points[0].join(" ")}`;
  for (let at = 1; at < points.length - 1; at += 1) {
    const corner = points[at];
    const [enter, leave] = [toward(corner, points[at - 1]), toward(corner, points[at + 1])];
    path += `L${enter.join(" ")}Q${corner.join(" ")} ${leave.join(" ")}`;
  }
  return `${path}L${points.at(-1).join(" ")}`;
}

/** Moves the first point of an orthogonal line; the last one stays, and all legs stay orthogonal. */
export function stretch(points, dx, dy) {
  const [first, second, ...others] = points;
  const start = [first[0] + dx, first[1] + dy];
  const upright = first[0] === second[0];
  if (others.length) return [start, upright ? [second[0] + dx, second[1]] : [second[0], second[1] + dy], ...others];
  if (upright ? start[0] === second[0] : start[1] === second[1]) return [start, second];
  if (upright) {
    const turn = (start[1] + second[1]) / 2;
    return [start, [start[0], turn], [second[0], turn], second];
  }
  const turn = (start[0] + second[0]) / 2;
  return [start, [turn, start[1]], [turn, second[1]], second];
}

const parse = (text) => text.split(" ").map((pair) => pair.split(",").map(Number));

/** Answers a function (dx, dy) that shows the cables of these cards as if they stood that far from their places. */
export function cablesOf(topics) {
  const held = new Set(topics);
  // One pass over all of them: a selector for each of a thousand cards would take longer.
  const all = topics.length ? [...(wiring()?.querySelectorAll("[data-of]") ?? [])] : [];
  const found = all.filter((edge) => edge.dataset.of.split(" ").some((end) => held.has(end)));
  const edges = found.map((edge) => {
    const points = parse(edge.dataset.points);
    const ends = edge.dataset.of.split(" ");
    const whole = ends.length > 1 && ends.every((end) => held.has(end)); // both ends move: nothing is stretched
    const first = held.has(ends[0]);
    return {
      edge,
      first,
      whole,
      points: first ? points : points.toReversed(),
      rail: first && !whole && "rail" in edge.dataset,
    };
  });
  const tips = new Set(
    edges.flatMap(({ points, rail, whole }) => [
      ...(rail ? [] : [String(points[0])]),
      ...(whole ? [String(points.at(-1))] : []),
    ]),
  );
  const joints = [...(wiring()?.querySelectorAll("[data-at]") ?? [])].filter((joint) => tips.has(joint.dataset.at));
  return (dx, dy) => {
    for (const { edge, first, whole, points, rail } of edges) {
      edge.dataset.uiHeld = "";
      if (whole) {
        edge.setAttribute("d", poly(points.map(([x, y]) => [x + dx, y + dy])));
        continue;
      }
      const line = stretch(points, rail ? 0 : dx, dy); // what leaves a rail keeps its place along the rail
      edge.setAttribute("d", poly(first ? line : line.toReversed()));
    }
    for (const joint of joints) joint.setAttribute("transform", `translate(${dx} ${dy})`); // a refresh takes it away
  };
}

/** Lights the cables of the card that is open. */
export function light(topic) {
  for (const edge of wiring()?.querySelectorAll("[data-ui-lit]") ?? []) delete edge.dataset.uiLit;
  if (!topic || topic.startsWith("network-")) return;
  for (const edge of wiring()?.querySelectorAll(`[data-of~="${topic}"]`) ?? []) {
    if (!edge.hasAttribute("d")) edge.setAttribute("d", poly(parse(edge.dataset.points))); // painted in a bundle so far
    edge.dataset.uiLit = "";
  }
}
