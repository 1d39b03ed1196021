// Writing: opened with the token, asked for once in a session of the browser; what loses data is asked about first.

const KEPT = "rayfan-token";

export class Writing {
  constructor(connection, writable) {
    this.connection = connection;
    this.writable = writable;
    this.button = document.getElementById("lock");
    this.dialog = document.getElementById("token-dialog");
    this.input = document.getElementById("token");
    this.fault = document.getElementById("token-fault");
    this.sure = document.getElementById("sure-dialog");
    this.button.addEventListener("click", () => this.pressed());
    this.dialog.querySelector("[data-close]").addEventListener("click", () => this.dialog.close());
    this.dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.fault.textContent = "";
      connection.show(this.input.value);
    });
    connection.addEventListener("token", ({ detail }) => this.answered(detail));
    connection.addEventListener("state", () => this.refresh());
    document.addEventListener("click", (event) => this.clicked(event));
    document.addEventListener("submit", (event) => this.submitted(event));
    if (!writable) this.button.title = "The configuration has no key web.token";
    connection.token = writable ? sessionStorage.getItem(KEPT) : null;
    if (connection.token) connection.show(connection.token);
    this.refresh();
  }

  // Puts a value; `question`: what is asked before.
  async put(name, value, question = "") {
    if (question && !(await this.agreed(question))) return;
    this.connection.watch(name, () => {}); // PVWS writes only what is watched
    this.connection.write(name, value);
  }

  // Returns a button that puts a value.
  putter(label, name, value, question = "", about = "") {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    if (about) button.setAttribute("aria-label", `${label} ${about}`);
    button.dataset.writes = "";
    button.disabled = !this.connection.writable;
    button.addEventListener("click", () => this.put(name, value, question));
    return button;
  }

  pressed() {
    if (this.connection.writable) {
      sessionStorage.removeItem(KEPT);
      this.connection.token = null;
      this.connection.socket?.close(); // the next connection is one for reading
      return;
    }
    this.input.value = "";
    this.fault.textContent = this.writable ? "" : "This appliance is configured for looking only (key web.token).";
    this.dialog.showModal();
  }

  answered({ write, message }) {
    if (write) {
      sessionStorage.setItem(KEPT, this.connection.token);
      this.dialog.close();
    } else {
      sessionStorage.removeItem(KEPT);
      this.fault.textContent = message;
    }
    this.refresh();
  }

  refresh() {
    const open = this.connection.writable;
    this.button.textContent = open ? "Writing is open" : "Read only";
    this.button.setAttribute("aria-pressed", String(open));
    for (const element of document.querySelectorAll("[data-writes]")) element.disabled = !open;
  }

  clicked(event) {
    const button = event.target.closest("[data-put]");
    if (button) this.put(button.dataset.put, Number(button.dataset.value));
  }

  submitted(event) {
    const name = event.target.dataset?.set;
    if (!name) return;
    event.preventDefault();
    const field = event.target.querySelector("input, select");
    this.put(name, field.type === "number" ? Number(field.value) : field.value);
  }

  agreed(question) {
    document.getElementById("sure-text").textContent = question;
    this.sure.returnValue = "no";
    this.sure.showModal();
    return new Promise((done) => {
      this.sure.addEventListener("close", () => done(this.sure.returnValue === "yes"), { once: true });
    });
  }
}
