// What the pages do beyond HTML and htmx: live parts, copying, and asking before what cannot be undone. Everything works without.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
}, true);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  const said = button.querySelector("[data-said]");
  if (said) said.textContent = button.dataset.done;
});

document.addEventListener("htmx:config:request", (event) => {
  const { organization } = document.body.dataset; // so that no page shows parts of what another organization's has
  if (organization) event.detail.ctx.request.headers["Tieline-Organization"] = organization;
});

const follow = (part) => {
  const source = new EventSource(part.dataset.live);
  source.addEventListener("part", (event) => htmx.swap({ sourceElement: part, target: part, text: event.data, swap: "innerMorph" }));
  source.addEventListener("over", () => source.close());
};
const look = (root) => {
  root.querySelectorAll("[data-live]").forEach((part) => {
    if (!part.dataset.followed) {
      part.dataset.followed = "1";
      follow(part);
    }
  });
  root.querySelectorAll("[data-copy][hidden]").forEach((button) => { button.hidden = false; });
};
look(document);
document.addEventListener("htmx:after:swap", () => look(document));
