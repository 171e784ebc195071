// What is drawn: which metrics belong into one chart, and their values as the server has them, smoothed.
const VARIANTS = new Set(["train", "val", "valid", "validation", "test"]);

// The quantity and its variant: "val/box_loss" is the box_loss of val.
function parts(name) {
  const [head, ...rest] = name.split("/");
  if (rest.length && VARIANTS.has(head)) return [rest.join("/"), head];
  if (/^(lr|learning_rate)\b/.test(name)) return ["learning rate", name];
  return [name, ""];
}

function room(key) {
  if (key === "learning rate") return 2;
  return /loss/i.test(key) ? 1 : 0;
}

export const ROOMS = ["metrics", "losses", "learning rate"];

// Charts, each with its metrics: those of one quantity together, in order of their rooms.
export function charts(metrics) {
  const found = new Map();
  for (const { name, axis } of metrics) {
    const [key, variant] = parts(name);
    if (!found.has(key)) found.set(key, { key, room: room(key), metrics: new Map() });
    const known = found.get(key).metrics.get(name);
    found.get(key).metrics.set(name, { name, variant, axes: new Set([...(known?.axes ?? []), axis]) });
  }
  return [...found.values()].sort((one, other) => one.room - other.room);
}

// An exponential moving average, corrected for its beginning, as TensorBoard has it.
export function smoothed(values, weight) {
  let sum = 0;
  let count = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + (1 - weight) * value;
    count += 1;
    return sum / (1 - weight ** count);
  });
}

export async function get(path, query) {
  const answer = await fetch(`${document.body.dataset.base}/api/v1${path}?${new URLSearchParams(query)}`);
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

export const runPath = (run) => `/runs/${encodeURIComponent(run)}`;

// The curves of one chart, for each of the runs; `within` is the part of the axis that is looked at.
export async function curves(chart, runs, axis, within) {
  const asked = runs.map(async (run) => {
    const query = [...chart.metrics.keys()].map((name) => ["metric", name]);
    if (axis) query.push(["axis", axis]);
    if (within) query.push(["first", Math.floor(within[0])], ["last", Math.ceil(within[1])]);
    const found = await get(`${runPath(run)}/series`, query);
    return found.map((curve) => ({ ...curve, run }));
  });
  return (await Promise.all(asked)).flat();
}
