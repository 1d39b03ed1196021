// Rate, latency and lag with their history: the server keeps it, so that it is there when the page is opened.

import { getJson, repeat } from "./text.js";
import { Chart } from "./chart.js";

const PERIOD = 1000;
const MOST = 3600; // samples that are kept here
const CHARTS = [
  ["Rate", "Hz", "rate"],
  ["Latency, 99th percentile", "s", "p99"],
  ["Latency, median", "s", "p50"],
  ["Lag of the slowest member of each group", "s", "lagSeconds"],
  ["Frames on their way", "frames", "lag"],
  ["Lost since the start", "frames", "lost"],
];

export class Plots {
  constructor() {
    this.span = document.getElementById("span");
    this.charts = CHARTS.map(([title, unit, line]) => [new Chart(title, unit), line]);
    document.getElementById("charts").append(...this.charts.map(([chart]) => chart.element));
    this.times = [];
    this.lines = {};
    this.end = () => {};
    this.span.addEventListener("change", () => this.draw());
    addEventListener("colours", () => this.draw());
  }

  show() {
    this.end = repeat(() => this.refresh(), PERIOD);
  }

  hide() {
    this.end();
  }

  async refresh() {
    const found = await getJson("/api/history", { after: this.times.at(-1) ?? null });
    this.add(found);
    this.draw();
  }

  add({ times, lines }) {
    const before = this.times.length;
    this.times.push(...times);
    for (const name of new Set([...Object.keys(this.lines), ...Object.keys(lines)])) {
      this.lines[name] ??= new Array(before).fill(null);
      this.lines[name].push(...(lines[name] ?? new Array(times.length).fill(null)));
    }
    const over = this.times.length - MOST;
    if (over > 0) {
      this.times.splice(0, over);
      for (const figures of Object.values(this.lines)) figures.splice(0, over);
    }
  }

  draw() {
    if (!this.times.length || document.getElementById("plots").hidden) return;
    const to = this.times.at(-1);
    const from = to - Number(this.span.value);
    for (const [chart, line] of this.charts) {
      const chosen = Object.entries(this.lines).filter(([name]) => name.endsWith(` ${line}`));
      const named = chosen.map(([name, figures]) => [name.slice(0, -line.length - 1), figures]);
      chart.draw(this.times, Object.fromEntries(named.filter(([, figures]) => figures.some((one) => one !== null))), from, to);
    }
  }
}
