// The chain as a picture: a box a process, in the column in which frames reach it, lines from who gives to who takes.
//
// Boxes are buttons that lead to the table of processes. Their colours are the alarms of the records.

import { bind, getJson, make, number, paint, repeat, textOf } from "./text.js";

const PERIOD = 1000;
const SVG = "http://www.w3.org/2000/svg";

export class Overview {
  // `reveal` shows a process by name.
  constructor(connection, reveal) {
    this.connection = connection;
    this.reveal = reveal;
    this.chain = document.getElementById("chain");
    this.links = document.getElementById("links");
    this.boxes = new Map();
    this.edges = [];
    this.shape = "";
    this.endings = [];
    this.resized = new ResizeObserver(() => this.drawLinks()); // a box that grows moves the others
    this.resized.observe(this.chain);
  }

  show() {
    const bound = document.querySelectorAll("#overview [data-pv]");
    this.endings = [...bound].map((element) => bind(this.connection, element, element.dataset.pv));
    this.endings.push(this.connection.watch("cam1:FrameRate", (value) => this.suggest("frame-rate", value)));
    this.endings.push(this.connection.watch("cam1:NumImages", (value) => this.suggest("num-images", value)));
    this.endings.push(this.connection.watch("cam1:ImageMode", (value) => this.suggest("image-mode", value)));
    this.endings.push(repeat(() => this.refresh(), PERIOD));
    this.endings.push(() => this.clear());
  }

  hide() {
    this.endings.forEach((end) => end());
    this.endings = [];
  }

  suggest(id, value) {
    const field = document.getElementById(id);
    if (value && typeof value.value === "number" && document.activeElement !== field) field.value = value.text ?? value.value;
  }

  async refresh() {
    const view = await getJson("/api/overview");
    const shape = JSON.stringify(view.processes.map(({ name, column, givers }) => [name, column, givers]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(view.processes);
    }
    for (const process of view.processes) this.fill(process);
    this.drawLinks(); // boxes grow with their texts
  }

  clear() {
    for (const { end, element } of this.boxes.values()) {
      this.resized.unobserve(element);
      end();
    }
    this.boxes.clear();
    this.shape = "";
  }

  build(processes) {
    const focused = document.activeElement?.dataset?.process;
    this.clear();
    this.shape = JSON.stringify(processes.map(({ name, column, givers }) => [name, column, givers]));
    const columns = new Map();
    for (const process of processes) {
      if (!columns.has(process.column)) columns.set(process.column, []);
      columns.get(process.column).push(this.box(process));
    }
    const ordered = [...columns.keys()].sort((one, other) => one - other);
    const made = ordered.map((key) => make("div", { class: "column" }, ...columns.get(key)));
    this.chain.replaceChildren(this.links, ...made);
    this.edges = processes.flatMap(({ name, givers }) => givers.map((giver) => [giver, name]));
    if (focused) this.boxes.get(focused)?.element.focus();
    this.drawLinks();
  }

  box(process) {
    const state = make("span", { class: "state" });
    const figures = make("span", { class: "figures" });
    const title = process.table ? `${process.name} ` : process.name;
    const table = make("span", { class: "quiet" }, process.table ?? "");
    const element = make(
      "button",
      { type: "button", class: "box none", "data-process": process.name, onclick: () => this.reveal(process.name) },
      make("b", {}, title, table), state, figures,
    );
    const device = process.role === "detector" ? "cam1:DetectorState_RBV" : `${process.name}:State_RBV`;
    const alarm = process.role === "detector" ? "Ledger:Residue_RBV" : device;
    const loss = ["consumer", "collector"].includes(process.role) ? `${process.name}:Dropped_RBV` : null;
    const seen = { state: null, loss: null };
    const colour = () => paint(element, worst(seen.state, seen.loss));
    const ends = [
      this.connection.watch(device, (value) => (state.textContent = textOf(value))),
      this.connection.watch(alarm, (value) => { seen.state = value; colour(); }),
      loss ? this.connection.watch(loss, (value) => { seen.loss = value; colour(); }) : () => {},
    ];
    this.resized.observe(element);
    this.boxes.set(process.name, { element, figures, state, end: () => ends.forEach((end) => end()) });
    return element;
  }

  fill(process) {
    const box = this.boxes.get(process.name);
    if (!box) return;
    const rate = `${number(process.rate, process.rate < 100 ? 1 : 0)} Hz`;
    const parts = [[process.lag, "waiting"], [process.lost, "lost"], [process.failed, "failed"]];
    const rest = parts.filter(([count]) => count).map(([count, what]) => `${number(count)} ${what}`).join(", ");
    const text = rest ? `${rate}\n${rest}` : rate;
    if (box.figures.textContent !== text) box.figures.textContent = text;
    const label = `${process.name}, ${process.role}${process.table ? ` of ${process.table}` : ""}: `;
    box.element.setAttribute("aria-label", `${label}${box.state.textContent}, ${text.replace("\n", ", ")}`);
  }

  drawLinks() {
    if (!this.boxes.size) return;
    const origin = this.chain.getBoundingClientRect();
    const place = (name) => this.boxes.get(name)?.element.getBoundingClientRect();
    const paths = this.edges.flatMap(([giver, taker]) => {
      const from = place(giver);
      const to = place(taker);
      if (!from || !to) return [];
      const path = document.createElementNS(SVG, "path");
      const [x1, y1] = [from.right - origin.left, (from.top + from.bottom) / 2 - origin.top];
      const [x2, y2] = [to.left - origin.left, (to.top + to.bottom) / 2 - origin.top];
      const half = (x1 + x2) / 2;
      path.setAttribute("d", `M${x1} ${y1}C${half} ${y1} ${half} ${y2} ${x2} ${y2}`);
      path.setAttribute("class", "flows");
      return [path];
    });
    this.links.replaceChildren(...paths);
  }
}

function worst(...values) {
  const rank = ["NONE", "MINOR", "MAJOR", "INVALID", "UNDEFINED"];
  const known = values.filter(Boolean);
  known.sort((one, other) => rank.indexOf(other.severity) - rank.indexOf(one.severity));
  return known[0] ?? { severity: "UNDEFINED" };
}
