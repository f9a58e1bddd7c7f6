// The page's one connection to /ws/live. It comes back by itself, later each time it fails, and says when.
//
// Not htmx's ws extension, which can't say when the next try is, opens a second socket when told to try now, stays away
// after a server that left in good order (1001), and doesn't notice a line that is dead without having been closed.
const LOG_IN = 4401;
const SILENCE_MS = 8000; // the server says something each second
const OPENING_MS = 10000;
const LONGEST_MS = 30000;
const STEADY_MS = 10000; // a connection that lasted so long failed for a reason of its own
const ACK_EACH_MS = 1000;
const ACK_EACH_FRAMES = 16;

export class Connection extends EventTarget {
  // Events: open, frame (detail: the frame), change. `state` is connecting, open, lost or login.
  state = "connecting";
  nextTryAt = 0;
  #url;
  #socket = null;
  #failures = 0;
  #openedAt = 0;
  #heardAt = 0;
  #timer = 0;
  #ackTimer = 0;
  #seq = 0;
  #acked = 0;
  #ackedAt = 0;

  constructor(url) {
    super();
    this.#url = url;
  }

  /** Connect, and stay so. */
  start() {
    setInterval(() => this.#watch(), 1000);
    addEventListener("online", () => this.tryNow());
    addEventListener("pageshow", (event) => { if (event.persisted) this.tryNow(); });
    addEventListener("pagehide", () => { this.#drop(); this.state = "connecting"; });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { this.#watch(); this.tryNow(); } });
    this.tryNow();
  }

  /** Connect, unless that is done or under way. */
  tryNow() {
    if (this.#socket || this.state === "login") return;
    this.#open();
  }

  send(frame) {
    // What is said while it closes is said again when it is open again.
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ v: 1, ...frame }));
  }

  #open() {
    clearTimeout(this.#timer);
    this.#seq = this.#acked = 0;
    this.#heardAt = Date.now();
    const socket = (this.#socket = new WebSocket(this.#url));
    // What an abandoned socket still says concerns nobody.
    const ifCurrent = (then) => (event) => { if (this.#socket === socket) then(event); };
    socket.onopen = ifCurrent(() => {
      this.#openedAt = this.#heardAt = Date.now();
      this.#become("open");
      this.dispatchEvent(new Event("open"));
    });
    socket.onmessage = ifCurrent((event) => this.#hear(event.data));
    socket.onclose = ifCurrent((event) => this.#fail(event.code));
    if (this.state !== "connecting") this.#become(this.#failures ? "lost" : "connecting");
  }

  #hear(text) {
    this.#heardAt = Date.now();
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    if (!frame || frame.v !== 1 || frame.seq !== this.#seq + 1) {
      // Of another version, or one is missing: everything anew.
      this.#socket.close(4000);
      this.#fail(4000);
      return;
    }
    this.#seq = frame.seq;
    try {
      this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
    } finally {
      this.#acknowledgeSoon();
    }
  }

  // With what comes rather than by a timer: those of a page in the background hardly run.
  #acknowledgeSoon() {
    const wait = this.#ackedAt + ACK_EACH_MS - Date.now();
    if (wait <= 0 || this.#seq - this.#acked >= ACK_EACH_FRAMES) this.#acknowledge();
    else if (!this.#ackTimer) this.#ackTimer = setTimeout(() => this.#acknowledge(), wait);
  }

  #acknowledge() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = 0;
    if (this.#seq === this.#acked) return;
    this.#acked = this.#seq;
    this.#ackedAt = Date.now();
    this.send({ type: "ack", seq: this.#seq });
  }

  #fail(code) {
    if (this.state === "open" && Date.now() - this.#openedAt > STEADY_MS) this.#failures = 0;
    this.#drop();
    if (code === LOG_IN) { this.#become("login"); return; }
    this.#failures += 1;
    // Full jitter, so that the pages of a restarted server don't come back at the same moment.
    const delay = 250 + Math.random() * Math.min(LONGEST_MS, 1000 * 2 ** (this.#failures - 1));
    this.nextTryAt = Date.now() + delay;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.tryNow(), delay);
    this.#become("lost");
    // A refused handshake tells no reason: ask whether it is the login.
    if (this.#failures % 4 === 2) this.#askForLogin();
  }

  async #askForLogin() {
    try {
      const answer = await fetch("/profile", { method: "HEAD", redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect" && this.state !== "open") { this.#drop(); this.#become("login"); }
    } catch { /* the server is away: the next try comes anyway */ }
  }

  #watch() {
    const silence = Date.now() - this.#heardAt;
    if (this.#socket && silence > (this.state === "open" ? SILENCE_MS : OPENING_MS)) this.#fail(4000);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#ackTimer);
    this.#ackTimer = 0;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}
