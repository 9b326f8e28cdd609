// The sliders of a plan: shows what they stand at, and asks the server what that finds when they rest. The address has
// the whole plan, so that it is there again when somebody comes back.
const plan = document.getElementById("plan");
const planned = document.getElementById("planned");
const link = document.querySelector("#kept a");
const form = document.getElementById("start");
const start = form?.querySelector("button");
const late = document.getElementById("late");
let timer;
let asked;
const fields = () => {
  for (const copy of plan.querySelectorAll("[data-of=start]")) {
    const field = form?.elements[copy.name];
    if (field) copy.value = field.type === "checkbox" ? field.checked : field.value;
  }
  return new URLSearchParams(new FormData(plan));
};
// What is started is what is shown. A disabled button would swallow the Enter key without a word.
const ready = (is) => {
  start?.setAttribute("aria-disabled", String(!is));
  if (is && late) late.textContent = "";
};
const ask = async () => {
  asked?.abort();
  const mine = (asked = new AbortController());
  try {
    const answer = await fetch(`experiments-plan?${fields()}`, { signal: mine.signal });
    const text = await answer.text();
    if (mine !== asked) return;
    if (answer.ok) planned.innerHTML = text;
    else planned.textContent = "This could not be planned. Press “Show the chance” to see why.";
    ready(answer.ok);
  } catch {
    if (mine === asked) planned.textContent = "The server does not answer.";
  }
  if (mine === asked) planned.removeAttribute("aria-busy");
};
const wait = (milliseconds) => {
  for (const output of plan.querySelectorAll("output"))
    output.value = plan.elements[output.htmlFor.value].value + output.dataset.unit;
  planned.setAttribute("aria-busy", "true");
  ready(false);
  clearTimeout(timer);
  timer = setTimeout(ask, milliseconds);
};
plan.addEventListener("input", () => wait(300));
const keep = () => {
  link.setAttribute("href", `experiments?${fields()}#planning`);
  history.replaceState(null, "", link.getAttribute("href"));
};
plan.addEventListener("change", keep);
form?.addEventListener("change", keep);
form?.addEventListener("submit", (event) => {
  if (start.getAttribute("aria-disabled") !== "true") return;
  event.preventDefault();
  late.textContent = planned.hasAttribute("aria-busy")
    ? "Nothing is started yet: the plan above is still being computed. Look at it, then start it."
    : "Nothing is started: what is set above could not be planned.";
});
if (!planned.querySelector(".facts")) wait(0);
