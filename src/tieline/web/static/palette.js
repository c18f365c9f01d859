// The command palette: what the search page finds, as options under Ctrl+K or ⌘K. Without script its button leads to that page.
const palette = document.getElementById("palette");
const input = palette.querySelector("input");
const list = document.getElementById("palette-list");
const said = document.getElementById("palette-said");
let options = [], at = -1, latest = 0, soon;

const choose = (next) => {
  options[at]?.setAttribute("aria-selected", "false");
  at = options.length ? (next + options.length) % options.length : -1;
  const chosen = options[at];
  chosen?.setAttribute("aria-selected", "true");
  chosen?.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", chosen?.id ?? "");
};
const find = async () => {
  const mine = ++latest;
  const query = new URLSearchParams({ q: input.value, part: "yes" });
  palette.setAttribute("aria-busy", "true");
  const answer = await fetch(`${palette.dataset.search}?${query}`, {
    headers: { "Tieline-Organization": document.body.dataset.organization },
  }).catch(() => null);
  if (mine !== latest) return;
  palette.removeAttribute("aria-busy");
  if (!answer) return void (said.textContent = "Tieline does not answer. Try again.");
  if (!answer.ok || answer.redirected) return location.reload(); // signed out, or switched to another organization elsewhere
  list.innerHTML = await answer.text();
  options = [...list.querySelectorAll("[role=option]")];
  list.hidden = !options.length;
  input.setAttribute("aria-expanded", String(options.length > 0));
  said.textContent = list.querySelector("[data-said]").dataset.said;
  at = -1;
  choose(0);
};
const go = (option) => location.assign(option.dataset.to);
const open = () => {
  if (palette.open) return palette.close();
  palette.showModal();
  input.select();
  find();
};

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open();
  }
});
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-palette]") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  open();
});
input.addEventListener("input", () => {
  clearTimeout(soon);
  soon = setTimeout(find, 120);
});
input.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    choose(at + step);
  } else if (event.key === "Enter" && options[at]) {
    event.preventDefault();
    go(options[at]);
  }
});
palette.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) go(option);
  else if (event.target === palette) palette.close();
});
document.querySelectorAll("[data-palette] kbd").forEach((key) => {
  if (/Mac|iPhone|iPad/.test(navigator.platform)) key.textContent = "⌘K";
  key.hidden = false;
});
