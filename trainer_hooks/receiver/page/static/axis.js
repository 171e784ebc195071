// What a chart is drawn over: epochs or iterations, as the server has them, or the time.

// Where a curve's points lie, by what is chosen as the axis.
export function places(curve, over, starts) {
  if (over === "time") return curve.time.map((at) => at * 1000);
  if (over === "relative") return curve.time.map((at) => (at - starts.get(curve.run)) / 60);
  return curve.x;
}

// When each run's first value of these was told.
export function startsOf(curves) {
  const starts = new Map();
  for (const { run, time } of curves) starts.set(run, Math.min(starts.get(run) ?? Infinity, time[0] ?? Infinity));
  return starts;
}

// The epochs or iterations in that part of the axis, as far as the points that are there tell.
export function stepsWithin(range, curves, over) {
  const [from, to] = range.map((place) => (over === "time" ? moment(place) : Number(place)));
  if (over === "step" || over === "iteration") return [from, to];
  const starts = startsOf(curves);
  const first = [];
  const last = [];
  for (const curve of curves) {
    const at = places(curve, over, starts);
    const begin = at.findLastIndex((place) => place <= from);
    const end = at.findIndex((place) => place >= to);
    first.push(curve.x[Math.max(begin, 0)] ?? Infinity);
    last.push(curve.x[end < 0 ? curve.x.length - 1 : end] ?? 0);
  }
  return [Math.min(...first), Math.max(...last)];
}

// As plotly.js writes times: "2026-11-29 06:30:00.5", or shorter.
function moment(text) {
  const [day, clock = "00:00"] = String(text).split(" ");
  return Date.parse(`${day}T${clock}Z`);
}
