// The newest lines of all logs, with a filter.

import { getJson, make, repeat } from "./text.js";

const PERIOD = 1500;
const TYPING = 250; // ms after a key until the filter is applied

export class Log {
  constructor() {
    this.process = document.getElementById("log-process");
    this.level = document.getElementById("log-level");
    this.text = document.getElementById("log-text");
    this.follow = document.getElementById("log-follow");
    this.body = document.getElementById("log-rows");
    this.scroll = document.getElementById("log-scroll");
    this.last = "";
    this.end = () => {};
    for (const one of [this.process, this.level]) one.addEventListener("change", () => this.refresh());
    let timer = null;
    this.text.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.refresh(), TYPING);
    });
  }

  show() {
    this.last = "";
    this.end = repeat(() => this.refresh(), PERIOD);
  }

  hide() {
    this.end();
  }

  async refresh() {
    const wanted = { process: this.process.value, level: this.level.value, text: this.text.value };
    const lines = await getJson("/api/log", wanted);
    this.offer(lines);
    const print = JSON.stringify([wanted, lines.length, lines.at(-1), lines[0]]);
    if (print === this.last) return;
    this.last = print;
    this.body.replaceChildren(...lines.map((line) => this.row(line)));
    if (!lines.length) this.body.append(make("tr", {}, make("td", { colspan: 4, class: "quiet" }, "no line")));
    if (this.follow.checked) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  offer(lines) {
    const present = new Set([...this.process.options].map((option) => option.value));
    const names = [...new Set(lines.map((line) => line.process))].filter((name) => !present.has(name));
    this.process.append(...names.sort().map((name) => make("option", {}, name)));
  }

  row({ time, process, level, text }) {
    const shade = { WARNING: "minor", ERROR: "major", CRITICAL: "major" }[level] ?? null;
    return make("tr", {}, make("td", {}, time), make("td", {}, process), make("td", { class: shade }, level), make("td", {}, text));
  }
}
