// The connection to the appliance's PVs (PVWS): one WebSocket that is opened again whenever it is lost.
//
// Every view watches PVs by name, without the prefix; a PV that several watch is asked for once. Updates hold only what
// has changed, so they are merged. After a loss everything is asked for anew.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 5000;
const SILENCE = 15000; // ms without a word, though the heartbeat of the appliance comes every second

export class Connection extends EventTarget {
  constructor(prefix) {
    super();
    this.prefix = prefix;
    this.writable = false;
    this.token = null;
    this.watched = new Map(); // name -> { listeners, value }
    this.wait = FIRST_WAIT;
    this.heard = 0;
    this.socket = null;
    this.open();
    setInterval(() => this.lookForSilence(), 1000);
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/pvws/pv`);
    this.socket = socket;
    this.heard = Date.now();
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = (event) => this.lost(socket, event.reason);
  }

  opened() {
    this.wait = FIRST_WAIT;
    if (this.token !== null) this.send({ type: "token", token: this.token });
    const names = [...this.watched.keys()].map((name) => this.prefix + name);
    if (names.length) this.send({ type: "subscribe", pvs: names });
    this.tell("there");
  }

  lost(socket, reason) {
    if (socket !== this.socket) return;
    this.socket = null;
    this.writable = false;
    for (const one of this.watched.values()) {
      one.value = null;
      one.listeners.forEach((listener) => listener(null));
    }
    this.tell("gone", reason);
    setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(2 * this.wait, LONGEST_WAIT);
  }

  lookForSilence() {
    if (this.socket && Date.now() - this.heard > SILENCE) {
      const silent = this.socket;
      silent.close();
      this.lost(silent, "nothing heard"); // the close of a connection that hangs may take minutes
    }
  }

  // Calls listener with each new value of a PV, null while there is none; returns what ends that.
  watch(name, listener) {
    let one = this.watched.get(name);
    if (!one) {
      one = { listeners: new Set(), value: null };
      this.watched.set(name, one);
      this.send({ type: "subscribe", pvs: [this.prefix + name] });
    }
    one.listeners.add(listener);
    listener(one.value);
    return () => {
      one.listeners.delete(listener);
      if (one.listeners.size === 0 && this.watched.get(name) === one) {
        this.watched.delete(name);
        this.send({ type: "clear", pvs: [this.prefix + name] });
      }
    };
  }

  write(name, value) {
    this.send({ type: "write", pv: this.prefix + name, value });
  }

  show(token) {
    this.token = token;
    this.send({ type: "token", token });
  }

  send(message) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  take(message) {
    this.heard = Date.now();
    if (message.type === "update") {
      const one = this.watched.get(message.pv.slice(this.prefix.length));
      if (!one) return;
      one.value = { ...one.value, ...message };
      one.listeners.forEach((listener) => listener(one.value));
    } else if (message.type === "token") {
      this.writable = message.write;
      if (!message.write) this.token = null;
      this.dispatchEvent(new CustomEvent("token", { detail: message }));
    } else if (message.type === "error") {
      this.dispatchEvent(new CustomEvent("fault", { detail: message.message }));
    }
  }

  tell(state, reason = "") {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, reason } }));
  }
}
