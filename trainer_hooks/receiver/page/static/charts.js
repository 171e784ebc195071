// Charts of one run, or of several overlaid. plotly.js draws; what is out of sight is not drawn, and not asked for.
import { stepsWithin } from "./axis.js";
import { COLOURS, figure } from "./drawing.js";
import { ROOMS, charts, curves, get, runPath } from "./series.js";

const EVERY = 3000;
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

const section = document.getElementById("charts");
const plots = document.getElementById("plots");
const tools = document.getElementById("chart-tools");
const all = JSON.parse(section.dataset.runs);
const shown = new Map(); // by key: what is on the page
let plotly;

const chosen = () => all.filter((run) => document.querySelector(`input[data-run="${CSS.escape(run)}"]`)?.checked ?? true);
const choices = () => ({ over: tools.over.value, smoothing: Number(tools.smoothing.value), log: tools.log.checked });
// The server may be away for a while: the page shows what it had, and asks again.
const quietly = (promise) => promise.catch(() => {});

function load() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      plotly = undefined;
      say("plotly.js could not be loaded, which draws the charts.");
      reject(new Error(script.src));
    };
    document.head.append(script);
  });
  return plotly;
}

// Ask the server once more, and draw; what is wanted meanwhile comes right behind.
async function update(chart) {
  chart.isStale = true;
  if (chart.isAsking) return;
  chart.isAsking = true;
  try {
    while (chart.isStale && chart.isVisible) {
      chart.isStale = false;
      quietly(load()); // meanwhile
      const axis = tools.over.value === "iteration" ? "iteration" : undefined;
      chart.curves = await curves(chart, chosen(), axis, chart.within);
      await draw(chart);
    }
  } finally {
    chart.isAsking = false;
  }
}

async function draw(chart) {
  if (!chart.curves || !chart.isVisible) return;
  const library = await load();
  const { traces, layout } = figure(chart, chart.curves, all, choices());
  const isNew = !chart.place.classList.contains("js-plotly-plot");
  await library.react(chart.place, traces, layout, CONFIG);
  if (isNew) chart.place.on("plotly_relayout", (change) => zoom(chart, change));
  chart.place.dataset.points = chart.curves.reduce((sum, curve) => sum + curve.x.length, 0);
  if (chart.table.open) tell(chart);
}

// Closer: the server has more points for that part. Back: all of it again.
function zoom(chart, change) {
  const range = change.xaxis?.range ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
  if (range[0] !== undefined) {
    chart.range = range;
    chart.within = stepsWithin(range, chart.curves, tools.over.value);
  } else if (change["xaxis.autorange"]) {
    chart.range = chart.within = undefined;
  } else return;
  quietly(update(chart));
}

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const chart = shown.get(target.dataset.key);
    chart.isVisible = isIntersecting;
    if (isIntersecting) quietly(update(chart));
  }
}, { rootMargin: "200px" });

function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function place(chart) {
  chart.place = element("div", "");
  chart.place.setAttribute("role", "img");
  chart.place.setAttribute("aria-label", `chart of ${[...chart.metrics.keys()].join(", ")}`);
  chart.table = element("details", "", element("summary", "values"), element("table", ""));
  chart.table.addEventListener("toggle", () => tell(chart));
  chart.figure = element("figure", "", element("figcaption", chart.key), chart.place, chart.table);
  chart.figure.dataset.key = chart.key;
  shown.set(chart.key, chart);
  return chart.figure;
}

// The chart for those who don't see it.
function tell(chart) {
  const several = all.length > 1;
  const finite = (values) => values.filter((value) => value !== null);
  const short = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(5))) : "");
  const head = [...(several ? ["run"] : []), "metric", "newest", "lowest", "highest", "up to"];
  const rows = (chart.curves ?? []).map((curve) => [
    ...(several ? [curve.run] : []),
    curve.attempt > 1 ? `${curve.metric}, attempt ${curve.attempt}` : curve.metric,
    short(curve.mean.at(-1)),
    short(Math.min(...finite(curve.low))),
    short(Math.max(...finite(curve.high))),
    `${curve.axis} ${curve.x.at(-1) ?? ""}`,
  ]);
  const row = (name, cells) => element("tr", "", ...cells.map((cell) => element(name, cell)));
  const body = rows.map((cells) => row("td", cells));
  chart.table.querySelector("table").replaceChildren(element("thead", "", row("th", head)), element("tbody", "", ...body));
}

function heading(room) {
  const found = plots.querySelector(`h3[data-room="${room}"]`);
  if (found) return found;
  const title = element("h3", ROOMS[room]);
  title.dataset.room = room;
  plots.append(title);
  return title;
}

function say(text) {
  section.querySelector(".empty")?.remove();
  if (!text) return;
  const said = element("p", text);
  said.className = "empty";
  section.append(said);
}

async function refresh() {
  const metrics = (await Promise.all(chosen().map((run) => get(`${runPath(run)}/metrics`, {})))).flat();
  for (const chart of charts(metrics)) {
    const known = shown.get(chart.key);
    if (known) {
      known.metrics = chart.metrics;
      continue;
    }
    let behind = heading(chart.room);
    while (behind.nextSibling?.nodeName === "FIGURE") behind = behind.nextSibling;
    behind.after(place(chart));
    say("");
    sight.observe(chart.figure);
  }
  filter();
  if (!shown.size) say("No metric has been told yet.");
  await Promise.all([...shown.values()].map(update));
}

function filter() {
  const words = tools.filter.value.toLowerCase();
  for (const { figure, metrics } of shown.values()) {
    figure.hidden = ![...metrics.keys()].some((name) => name.toLowerCase().includes(words));
  }
  plots.querySelectorAll("h3").forEach((title) => {
    title.hidden = true;
    for (let next = title.nextSibling; next?.nodeName === "FIGURE"; next = next.nextSibling) title.hidden &&= next.hidden;
  });
}

const redraw = () => shown.forEach((chart) => quietly(draw(chart)));

tools.addEventListener("submit", (event) => event.preventDefault());
tools.addEventListener("input", ({ target }) => {
  if (target === tools.filter) return filter();
  if (target !== tools.over) {
    tools.querySelector("output").textContent = tools.smoothing.value;
    return redraw();
  }
  shown.forEach((chart) => {
    chart.range = chart.within = undefined;
    quietly(update(chart));
  });
});
document.addEventListener("theme", redraw);
document.querySelectorAll("input[data-run]").forEach((box) => box.addEventListener("change", () => quietly(refresh())));
document.querySelectorAll("[data-swatch]").forEach((swatch) => swatch.style.setProperty("--swatch", COLOURS[swatch.dataset.swatch % COLOURS.length]));

quietly(refresh());
if (JSON.parse(section.dataset.open)) {
  setInterval(() => document.hidden || quietly(refresh()), EVERY);
}
