"use strict";
// Curves as SVG. A chart is kept when its run goes on, with the reader's place in it: `update` draws into it again.

const WIDTH = 340, HEIGHT = 150, RIGHT = 8, TOP = 8, BOTTOM = 20;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function told(value, isShare) {
  if (value == null) return "–";
  if (isShare) return `${short(100 * value, 1)} %`;
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 });
}

// A number beside an axis, in few characters.
function marked(value, isShare) {
  if (isShare) return `${Number((100 * value).toPrecision(3))} %`;
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.01 || size >= 1e5)) return value.toExponential(0);
  return String(Number(value.toPrecision(3)));
}

class Chart {
  constructor(chart, level = "h3") {
    this.place = null; // index among the steps; null: at the end
    this.plot = make("div", "plot");
    Object.assign(this.plot, { tabIndex: 0 });
    this.plot.setAttribute("role", "slider");
    this.legend = make("ul", "legend");
    this.element = make("figure", "chart", make(level, "", chart.title), this.plot, this.legend);
    this.plot.addEventListener("keydown", (event) => this.step(event));
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.move(null));
    this.update(chart);
  }

  update(chart) {
    this.chart = chart;
    this.steps = [...new Set(chart.lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
    const values = chart.lines.flatMap((line) => [...(line.low || line.values), ...(line.high || line.values)]);
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
    if (low === high) { high += Math.abs(high) * 0.1 || 1; low -= Math.abs(low) * 0.1; }
    this.range = [low, high];
    this.marks = this.range.map((value) => marked(value, chart.is_share));
    this.left = Math.max(44, 8 + 7 * Math.max(...this.marks.map((mark) => mark.length))); // as wide as a digit is at most
    this.draw();
  }

  x(step) {
    const [first, last] = [this.steps[0], this.steps[this.steps.length - 1]];
    return first === last ? (this.left + WIDTH - RIGHT) / 2 : this.left + ((step - first) / (last - first)) * (WIDTH - this.left - RIGHT);
  }

  y(value) {
    const [low, high] = this.range;
    return TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  }

  draw() {
    const [low, high] = this.range;
    const { left, marks } = this;
    const { lines } = this.chart;
    const label = (x, y, anchor, text) => svg("text", { x, y, "text-anchor": anchor }, text);
    const parts = [low, high].map((value) => svg("line", { class: "axis", x1: left, x2: WIDTH - RIGHT, y1: this.y(value), y2: this.y(value) }));
    parts.push(label(left - 4, this.y(high) + 4, "end", marks[1]), label(left - 4, this.y(low), "end", marks[0]));
    parts.push(label(left, HEIGHT - 5, "start", String(this.steps[0])), label(WIDTH - RIGHT, HEIGHT - 5, "end", `step ${this.steps[this.steps.length - 1]}`));
    lines.forEach((line, i) => {
      const at = (values) => line.steps.map((step, j) => `${this.x(step).toFixed(1)},${this.y(values[j]).toFixed(1)}`);
      if (line.low) parts.push(svg("polygon", { class: `between b${i}`, points: [...at(line.high), ...at(line.low).reverse()].join(" ") }));
      parts.push(svg("polyline", { class: `curve l${i}`, points: at(line.values).join(" ") }));
      if (line.steps.length < 25) for (const point of at(line.values)) { const [cx, cy] = point.split(","); parts.push(svg("circle", { class: `b${i}`, cx, cy, r: 2.4 })); }
    });
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.plot.replaceChildren(svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" }, ...parts, this.cursor));
    this.show();
  }

  show() {
    const end = this.steps.length - 1;
    const place = this.place == null ? end : Math.min(this.place, end);
    const step = this.steps[place];
    const at = (line) => {
      const index = line.steps.findLastIndex((each) => each <= step);
      if (index < 0) return "–";
      const between = line.low && this.place != null ? ` (${told(line.low[index], this.chart.is_share)} to ${told(line.high[index], this.chart.is_share)})` : "";
      return told(line.values[index], this.chart.is_share) + between;
    };
    this.cursor.setAttribute("visibility", this.place == null ? "hidden" : "visible");
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.x(step));
    const said = this.chart.lines.map((line) => `${line.name} ${at(line)}`);
    const attributes = { label: visible(this.chart.title), valuemin: 0, valuemax: end, valuenow: place, valuetext: visible(`step ${step}: ${said.join(", ")}`) };
    for (const [name, value] of Object.entries(attributes)) this.plot.setAttribute(`aria-${name}`, value);
    const rows = this.chart.lines.map((line, i) => make("li", "", svg("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("line", { class: `curve l${i}`, x1: 0, x2: 22, y1: 4, y2: 4 })),
      make("span", "of", line.name, line.num_broken ? ` (${line.num_broken} not finite)` : ""), make("b", "", at(line))));
    this.legend.replaceChildren(...rows, make("li", "dim", this.place == null ? `at step ${step}, the newest` : `at step ${step}`));
  }

  move(place) {
    this.place = place;
    this.show();
  }

  step(event) {
    const end = this.steps.length - 1;
    const now = this.place == null ? end : this.place;
    const far = Math.max(1, Math.round(end / 10));
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - far, PageUp: now + far, Home: 0, End: end, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.move(to == null ? null : Math.max(0, Math.min(end, to)));
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    const scale = Math.min(box.width / WIDTH, box.height / HEIGHT);
    const x = (event.clientX - box.left - (box.width - WIDTH * scale) / 2) / scale;
    let nearest = 0;
    this.steps.forEach((step, i) => { if (Math.abs(this.x(step) - x) < Math.abs(this.x(this.steps[nearest]) - x)) nearest = i; });
    this.move(nearest);
  }
}

// Draw charts into a place; those that are there already, by their titles, go on.
function drawCharts(place, held, charts, level) {
  for (const chart of charts) {
    if (held.has(chart.title)) held.get(chart.title).update(chart);
    else {
      held.set(chart.title, new Chart(chart, level));
      place.append(held.get(chart.title).element);
    }
  }
}
