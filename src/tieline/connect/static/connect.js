// <tieline-connect session="…">: a button that opens Tieline's hosted Connect in a dialog. Events: connected, failed, closed.
const here = new URL(".", import.meta.url).href;
const look = new CSSStyleSheet();
look.replaceSync(`
dialog{width:min(48rem,100vw - 1rem);height:min(44rem,100dvh - 1rem);max-width:none;max-height:none;padding:0;border:0;border-radius:12px;overflow:hidden;box-shadow:0 16px 60px #0006}
dialog::backdrop{background:#0008}
iframe{display:block;width:100%;height:100%;border:0}`);

class TielineConnect extends HTMLElement {
  static observedAttributes = ["session", "server"];
  #dialog;
  #frame;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [look];
    root.innerHTML = '<slot><button type="button" part="button">Connect an account</button></slot><dialog part="dialog"></dialog>';
    this.#dialog = root.querySelector("dialog");
    root.querySelector("slot").addEventListener("click", () => this.open());
    this.#dialog.addEventListener("close", () => this.#say("closed"));
  }

  connectedCallback() {
    window.addEventListener("message", this.#hear);
  }

  disconnectedCallback() {
    window.removeEventListener("message", this.#hear);
    this.#drop();
  }

  attributeChangedCallback() {
    this.#drop();
  }

  get #server() {
    return new URL(this.getAttribute("server") ?? here, here).href.replace(/\/*$/, "/");
  }

  open() {
    const session = this.getAttribute("session");
    if (!session || this.#dialog.open) return;
    if (!this.#frame) {
      this.#frame = document.createElement("iframe");
      this.#frame.title = this.getAttribute("label") ?? "Connect an account";
      this.#frame.referrerPolicy = "no-referrer";
      this.#frame.src = `${this.#server}connect-session/${encodeURIComponent(session)}`;
      this.#dialog.ariaLabel = this.#frame.title;
      this.#dialog.append(this.#frame);
    }
    this.#dialog.showModal();
    this.#frame.focus();
  }

  close() {
    this.#dialog.close();
  }

  #hear = ({ origin, source, data }) => {
    if (!this.#frame || source !== this.#frame.contentWindow || origin !== new URL(this.#server).origin) return;
    const { tieline, connection, provider, account, reason } = data ?? {};
    if (tieline === "connected") this.#say(tieline, { connection, provider, account });
    if (tieline === "failed") this.#say(tieline, { reason });
    if (tieline === "close" || tieline === "cancelled") this.close();
  };

  #say(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail, bubbles: true }));
  }

  #drop() {
    if (this.#dialog.open) this.close();
    this.#frame?.remove();
    this.#frame = undefined;
  }
}

customElements.define("tieline-connect", TielineConnect);
