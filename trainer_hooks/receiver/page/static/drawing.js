// What plotly.js draws of a chart: a line for each metric and run, the spread of what was thinned out, and marks.
import { places, startsOf } from "./axis.js";
import { smoothed } from "./series.js";

// Told apart by colour-blind people, too, as far as so many can be.
export const COLOURS = [
  "#3b6fd6", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a4fc0", "#b0413e", "#5f8f2f", "#0d8d9c", "#a3567e", "#777777",
];
const DASHES = ["solid", "dot", "dash", "dashdot", "longdash"];
const MOST_MARKS = 50;
const TITLES = { iteration: "iteration", relative: "minutes since the start", time: "time (UTC)" };

// plotly.js takes texts as HTML.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

// `runs` are all runs of the page, each with the colour of its place among them; one alone has a colour per metric.
export function figure(chart, curves, runs, choices) {
  const starts = startsOf(curves);
  const onAxis = curves.map((curve) => ({ ...curve, places: places(curve, choices.over, starts) }));
  return { traces: traces(chart, onAxis, runs, choices), layout: layout(chart, onAxis, choices) };
}

function traces(chart, curves, runs, { smoothing }) {
  const named = new Set();
  return curves.flatMap((curve) => {
    const { line, label } = style(chart, curve, runs);
    const isFirst = !named.has(label);
    named.add(label);
    const shared = { x: curve.places, name: plain(label), legendgroup: label, showlegend: false, hoverinfo: "skip" };
    const mode = curve.x.length === 1 ? "markers" : "lines";
    const drawn = spread(curve, shared, line.color);
    if (smoothing) drawn.push({ ...shared, y: curve.mean, mode, line: { ...line, width: 1 }, opacity: 0.3 });
    const values = smoothing ? smoothed(curve.mean, smoothing) : curve.mean;
    const hover = { hoverinfo: "all", hovertemplate: "%{y:.5g}<extra>%{fullData.name}</extra>" };
    drawn.push({ ...shared, ...hover, y: values, mode, line: { ...line, width: 2 }, marker: line, showlegend: isFirst });
    return drawn;
  });
}

function style(chart, { metric, run }, runs) {
  const names = [...chart.metrics.keys()];
  const place = names.indexOf(metric);
  const { name, variant } = chart.metrics.get(metric);
  const own = variant || name;
  if (runs.length === 1) return { label: own, line: { color: COLOURS[place % COLOURS.length], dash: "solid" } };
  return {
    label: names.length > 1 ? `${run} ${own}` : run,
    line: { color: COLOURS[runs.indexOf(run) % COLOURS.length], dash: DASHES[place % DASHES.length] },
  };
}

// From the lowest to the highest value, where a point on the screen stands for several.
function spread(curve, shared, color) {
  if (curve.low.every((low, place) => low === curve.high[place])) return [];
  const edge = { ...shared, mode: "lines", line: { width: 0 } };
  return [{ ...edge, y: curve.low }, { ...edge, y: curve.high, fill: "tonexty", fillcolor: `${color}33` }];
}

function layout(chart, curves, { over, log }) {
  const { text, faint, line, bad } = look();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickfont: { color: faint } };
  const title = { text: TITLES[over] ?? curves[0]?.axis ?? "", font: { color: faint, size: 11 } };
  const broken = curves.reduce((sum, curve) => sum + curve.not_finite.length, 0);
  const said = curves.length ? broken && `${broken} not finite` : "not told at iterations";
  const note = { text: said, xref: "paper", yref: "paper", x: 1, y: -0.12, yanchor: "top", showarrow: false, font: { color: bad, size: 11 } };
  return {
    height: 270,
    margin: { l: 52, r: 12, t: 14, b: 38 },
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { color: text, size: 12 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: getComputedStyle(document.body).backgroundColor },
    showlegend: true,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", font: { size: 11 } },
    xaxis: { ...axis, title, type: over === "time" ? "date" : "linear", range: chart.range, autorange: !chart.range },
    yaxis: { ...axis, type: log ? "log" : "linear", automargin: true },
    shapes: marks(curves, over, faint, bad),
    annotations: said ? [note] : [],
    uirevision: `${over} ${log}`,
  };
}

// Where further attempts begin, and where a value was no number: of those the server tells the step alone.
function marks(curves, over, faint, bad) {
  const begun = curves.filter((curve) => curve.attempt > 1 && curve.x.length).map((curve) => curve.places[0]);
  const isStep = over === "step" || over === "iteration";
  const broken = isStep ? curves.flatMap((curve) => curve.not_finite.slice(0, MOST_MARKS)) : [];
  const mark = (color, dash) => (x) => ({ type: "line", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color, width: 1, dash } });
  return [...[...new Set(begun)].map(mark(faint, "dash")), ...[...new Set(broken)].map(mark(bad, "dot"))];
}

function look() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { text: of("--text"), faint: of("--faint"), line: of("--line"), bad: of("--bad") };
}
