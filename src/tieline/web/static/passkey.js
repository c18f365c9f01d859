// Passkeys: asks the browser to make one or to sign with one, and sends what it says as the page's own form.
// A form says by data-passkey which of the two it does, by data-begin where the question comes from, and by data-origin where it works.
const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
const toText = (buffer) =>
  btoa(Array.from(new Uint8Array(buffer), (one) => String.fromCharCode(one)).join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const withBytes = (list) => (list ?? []).map((one) => ({ ...one, id: toBytes(one.id) }));

const make = async (options) => {
  const user = { ...options.user, id: toBytes(options.user.id) };
  const publicKey = { ...options, user, challenge: toBytes(options.challenge), excludeCredentials: withBytes(options.excludeCredentials) };
  const made = await navigator.credentials.create({ publicKey });
  const transports = made.response.getTransports?.() ?? [];
  return [made, { attestationObject: toText(made.response.attestationObject), transports }];
};

const sign = async (options) => {
  const publicKey = { ...options, challenge: toBytes(options.challenge), allowCredentials: withBytes(options.allowCredentials) };
  const signed = await navigator.credentials.get({ publicKey });
  const { authenticatorData, signature, userHandle } = signed.response;
  return [signed, {
    authenticatorData: toText(authenticatorData), signature: toText(signature), userHandle: userHandle ? toText(userHandle) : undefined,
  }];
};

const WRONG = {
  NotAllowedError: "No passkey was chosen. Try again, or take another way.",
  InvalidStateError: "This device holds a passkey of yours already.",
  NotSupportedError: "This device cannot hold a passkey of the kind that is needed: one that asks for a finger, a face or a PIN.",
  ConstraintError: "This device cannot hold a passkey of the kind that is needed: one that asks for a finger, a face or a PIN.",
};

const ask = async (form) => {
  const answer = await fetch(form.dataset.begin, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  const told = answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : {};
  if (!told.options) throw new Error(told.problem ?? "Something went wrong. Reload the page and try again.");
  const [passkey, response] = await (form.dataset.passkey === "make" ? make : sign)(told.options);
  response.clientDataJSON = toText(passkey.response.clientDataJSON);
  form.elements.answer.value = JSON.stringify({ id: passkey.id, rawId: toText(passkey.rawId), type: passkey.type, response });
  HTMLFormElement.prototype.submit.call(form);
};

document.querySelectorAll("[data-without-script]").forEach((told) => { told.hidden = true; });
document.querySelectorAll("form[data-passkey]").forEach((form) => {
  const problem = form.querySelector("[data-problem]");
  const button = form.querySelector("button");
  const say = (text) => {
    problem.querySelector("span").textContent = text;
    problem.hidden = !text;
  };
  form.hidden = false;
  if (!window.PublicKeyCredential) say("This browser knows no passkeys. Use another, or take another way.");
  else if (location.origin !== form.dataset.origin) say(`Passkeys work at ${form.dataset.origin} alone. Open Tieline there.`);
  button.disabled = !problem.hidden;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    button.disabled = true;
    try {
      await ask(form);
    } catch (error) {
      say(WRONG[error.name] ?? (error.name === "Error" ? error.message : "The browser refused this passkey. Try again, or take another way."));
      button.disabled = false;
    }
  });
});
