// The line chart of the throughput, drawn in SVG.

const spans = [60, 120, 300, 600]; // seconds that the chart may show
const margin = { top: 10, right: 4, bottom: 22, left: 4 };

// rate writes bytes per second in decimal units, as networks are measured in.
export function rate(n) { return scaled(n, 1000, ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]); }

// size writes bytes in binary units, as memory is measured in.
export function size(n) { return scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]); }

function scaled(n, base, units) {
  let unit = 0;
  for (n = Math.max(n, 0); n >= base * 0.9995 && unit < units.length - 1; unit++) n /= base;
  return (n < 10 && unit > 0 ? n.toFixed(1) : Math.round(n).toString()) + " " + units[unit];
}

// ceiling is a round number from most on, and a step between grid lines below it.
function ceiling(most) {
  if (most <= 0) return { top: 1e6, step: 5e5 };
  const ten = 10 ** Math.floor(Math.log10(most));
  const top = [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((n) => n * ten).find((n) => n >= most * 0.999);
  return { top, step: top / 2 };
}

function element(name, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

function ago(seconds) {
  if (seconds < 1) return "now";
  return seconds < 90 ? Math.round(seconds) + " s ago" : Math.round(seconds / 60) + " min ago";
}

// tick names a point of time below the chart.
function tick(seconds) {
  if (seconds === 0) return "now";
  return seconds % 60 ? `${seconds} s` : `${seconds / 60} min`;
}

// Chart shows the points of a report in an svg, and reads one of them to whoever
// points at it or uses the arrow keys.
export class Chart {
  #svg; #reading; #usual; #points = []; #chosen = -1; #span = spans[0];

  constructor(svg, reading) {
    this.#svg = svg;
    this.#reading = reading;
    this.#usual = reading.textContent;
    new ResizeObserver(() => this.#draw()).observe(svg);
    svg.addEventListener("pointermove", (e) => this.#choose(this.#nearest(e.offsetX)));
    svg.addEventListener("pointerleave", () => this.#choose(-1));
    svg.addEventListener("blur", () => this.#choose(-1));
    svg.addEventListener("keydown", (e) => {
      const last = this.#points.length - 1;
      const at = this.#chosen < 0 ? last + (e.key === "ArrowLeft" ? 1 : 0) : this.#chosen;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[e.key];
      if (to === undefined) return;
      e.preventDefault();
      this.#choose(Math.min(Math.max(to, 0), last));
    });
  }

  // show replaces the points, which are in the order of time.
  show(points) {
    const oldest = points.length ? points[0].seconds_ago : 0;
    this.#span = spans.find((s) => s >= oldest) ?? spans.at(-1);
    this.#points = points.filter((p) => p.seconds_ago <= this.#span);
    const peak = Math.max(0, ...this.#points.map((p) => p.served));
    const fetched = Math.max(0, ...this.#points.map((p) => p.fetched));
    this.#svg.setAttribute("aria-label",
      `Throughput of the last ${this.#span / 60} min: served at most ${rate(peak)}, fetched at most ${rate(fetched)}`);
    this.#choose(Math.min(this.#chosen, this.#points.length - 1));
  }

  #choose(i) {
    this.#chosen = i;
    const p = this.#points[i];
    const text = p ? `${ago(p.seconds_ago)}: ${rate(p.served)} served, ${rate(p.fetched)} fetched` : this.#usual;
    if (this.#reading.textContent !== text) this.#reading.textContent = text; // it is read aloud
    this.#draw();
  }

  #x(seconds) {
    const width = this.#svg.clientWidth - margin.left - margin.right;
    return margin.left + width * (1 - Math.min(seconds, this.#span) / this.#span);
  }

  #nearest(x) {
    let best = -1;
    this.#points.forEach((p, i) => {
      if (best < 0 || Math.abs(this.#x(p.seconds_ago) - x) < Math.abs(this.#x(this.#points[best].seconds_ago) - x)) best = i;
    });
    return best;
  }

  #draw() {
    const width = this.#svg.clientWidth, height = this.#svg.clientHeight;
    if (!width || !height) return;
    const bottom = height - margin.bottom;
    const { top, step } = ceiling(Math.max(...this.#points.map((p) => Math.max(p.served, p.fetched)), 0));
    const y = (n) => bottom - (bottom - margin.top) * n / top;
    const drawn = [];
    for (let n = 0; n <= top; n += step) {
      drawn.push(element("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(n), y2: y(n) }));
    }
    const ticks = width < 480 ? 2 : { 60: 6, 120: 4, 300: 5, 600: 5 }[this.#span];
    for (let i = 0; i <= ticks; i++) {
      const seconds = this.#span * i / ticks;
      const anchor = i === ticks ? "start" : i === 0 ? "end" : "middle";
      drawn.push(element("text", { class: "tick", x: this.#x(seconds), y: height - 5, "text-anchor": anchor }, tick(seconds)));
    }
    const path = (key) => this.#points.map((p, i) => `${i ? "L" : "M"}${this.#x(p.seconds_ago).toFixed(1)} ${y(p[key]).toFixed(1)}`).join("");
    if (this.#points.length) {
      const first = this.#x(this.#points[0].seconds_ago).toFixed(1), last = this.#x(this.#points.at(-1).seconds_ago).toFixed(1);
      drawn.push(element("path", { class: "area", d: `${path("served")}L${last} ${bottom}L${first} ${bottom}Z` }));
      drawn.push(element("path", { class: "curve fetched", d: path("fetched") }));
      drawn.push(element("path", { class: "curve served", d: path("served") }));
    }
    for (let n = step; n <= top; n += step) { // over the curves, to be read
      drawn.push(element("text", { class: "tick", x: margin.left, y: y(n) + 14 }, rate(n)));
    }
    const chosen = this.#points[this.#chosen];
    if (chosen) {
      const x = this.#x(chosen.seconds_ago);
      drawn.push(element("line", { class: "cursor", x1: x, x2: x, y1: margin.top, y2: bottom }));
    }
    this.#svg.replaceChildren(...drawn);
  }
}
