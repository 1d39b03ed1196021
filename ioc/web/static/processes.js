// The table of processes with their commands: consumers start and stop, what may be restarted is.

import { getJson, make, number, paint, repeat } from "./text.js";

const PERIOD = 1000;
const SLOTS = 16;

export class Processes {
  constructor(connection, writing) {
    this.connection = connection;
    this.writing = writing;
    this.body = document.getElementById("process-rows");
    this.rows = new Map();
    this.severities = new Map(); // of the records Process1:State_RBV ..., by name of the process
    this.endings = [];
    this.wanted = null; // the process whose row is to get the focus as soon as it is there
  }

  // Leads to the row of a process.
  reveal(name) {
    this.wanted = name;
    location.hash = "processes";
  }

  show() {
    this.endings = [repeat(() => this.refresh(), PERIOD)];
    for (let slot = 1; slot <= SLOTS; slot++) this.follow(`Process${slot}:`);
  }

  hide() {
    this.endings.forEach((end) => end());
    this.endings = [];
  }

  follow(place) {
    const seen = { name: null, state: null };
    const note = () => {
      if (seen.name?.text) this.severities.set(seen.name.text, seen.state);
      this.paint(seen.name?.text);
    };
    this.endings.push(this.connection.watch(`${place}Name_RBV`, (value) => { seen.name = value; note(); }));
    this.endings.push(this.connection.watch(`${place}State_RBV`, (value) => { seen.state = value; note(); }));
  }

  async refresh() {
    const { processes } = await getJson("/api/overview");
    const names = processes.map(({ name }) => name);
    for (const name of [...this.rows.keys()].filter((one) => !names.includes(one))) {
      this.rows.get(name).row.remove();
      this.rows.delete(name);
    }
    for (const process of processes) {
      if (!this.rows.has(process.name)) this.add(process);
      this.fill(process);
    }
    this.rows.get(this.wanted)?.row.firstElementChild.focus();
    this.wanted = null;
  }

  add({ name, role, table, startStop, noRestart }) {
    const cells = Object.fromEntries(["rate", "lag", "processed", "failed", "lost", "restarts"].map((key) => [key, make("td", { class: "number" })]));
    cells.state = make("td");
    cells.says = make("td");
    const commands = make("div", { class: "actions" });
    if (startStop) {
      commands.append(this.writing.putter("Start", `${name}:Start`, 1, "", name));
      commands.append(this.writing.putter("Stop", `${name}:Stop`, 1, "", name));
    }
    const question = `${name} finishes what it has and is started anew. Frames that come meanwhile wait, or are lost, as its group's policy says.`;
    if (noRestart === null) commands.append(this.writing.putter("Restart", "Restart", name, question, name));
    else commands.append(make("span", { class: "quiet why" }, `no restart: ${noRestart}`));
    const title = make("th", { scope: "row", tabindex: "-1", "data-row": name }, name, make("div", { class: "quiet" }, table ? `${role}, ${table}` : role));
    const row = make("tr", {}, title, cells.state, make("td", {}, commands), cells.rate, cells.lag, cells.processed, cells.failed, cells.lost, cells.restarts, cells.says);
    this.rows.set(name, { row, cells });
    this.body.append(row);
    this.paint(name);
  }

  fill(process) {
    const { cells } = this.rows.get(process.name);
    const texts = { state: process.state, rate: number(process.rate, 1), says: process.error || process.message };
    for (const key of ["lag", "processed", "failed", "lost", "restarts"]) texts[key] = number(process[key]);
    for (const [key, text] of Object.entries(texts)) if (cells[key].textContent !== text) cells[key].textContent = text;
    for (const key of ["failed", "lost"]) cells[key].classList.toggle("bad", process[key] > 0);
  }

  paint(name) {
    const row = this.rows.get(name);
    if (row) paint(row.cells.state, this.severities.get(name));
  }
}
