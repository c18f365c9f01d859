// What the hosted pages do beyond HTML: they tell the sites that may know, go on after a sign-in in another window, filter, and send once.
const main = document.querySelector("main");
const framed = window.parent !== window;

const tell = (what) => {
  if (!framed) return;
  const above = window.location.ancestorOrigins?.[0];
  for (const origin of (main.dataset.origins ?? "").split(" ").filter(Boolean)) {
    if (!above || above === origin) window.parent.postMessage(what, origin);
  }
};
if (main.dataset.tell) tell(JSON.parse(main.dataset.tell));
if (framed) {
  document.querySelectorAll("[data-close]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => tell({ tieline: "close" }));
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tell({ tieline: "close" });
});

const first = document.querySelector('[aria-invalid="true"]') ?? document.querySelector('[role="alert"]') ?? document.getElementById("heading");
first.focus();
window.addEventListener("focus", () => {
  if (document.activeElement === document.body) first.focus(); // the dialog was closed, and opened again
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  event.submitter?.setAttribute("aria-busy", "true");
});

const search = document.querySelector("[data-search]");
search?.addEventListener("input", () => {
  const parts = search.value.toLowerCase().split(/\s+/);
  for (const item of document.getElementById(search.dataset.search).children) {
    item.hidden = !parts.every((part) => item.textContent.toLowerCase().includes(part));
  }
});

const waiting = document.querySelector("[data-wait]");
const look = async () => {
  let over = false;
  try {
    const answer = await fetch(waiting.dataset.wait, { method: "POST", body: new URLSearchParams(new FormData(waiting)) });
    over = !answer.ok || (await answer.json()).step !== "away";
  } catch {
    over = false; // the network is away for a moment
  }
  if (over) waiting.requestSubmit();
  else window.setTimeout(look, 1500);
};
if (waiting) window.setTimeout(look, 1500);
