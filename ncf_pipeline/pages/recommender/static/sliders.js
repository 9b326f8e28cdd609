// The sliders of a plan: shows what they stand at, and asks the server what that finds when they rest.
const plan = document.getElementById("plan");
const planned = document.getElementById("planned");
const start = document.querySelector("#start button");
let timer;
let asked;
const ask = async () => {
  asked?.abort();
  const mine = (asked = new AbortController());
  try {
    const answer = await fetch(`experiments-plan?${new URLSearchParams(new FormData(plan))}`, { signal: mine.signal });
    const text = await answer.text();
    if (mine !== asked) return;
    if (answer.ok) planned.innerHTML = text;
    else planned.textContent = "This could not be planned. Press “Show the chance” to see why.";
    if (start) start.disabled = !answer.ok;
  } catch {
    if (mine === asked) planned.textContent = "The server does not answer.";
  }
  if (mine === asked) planned.removeAttribute("aria-busy");
};
const wait = (milliseconds) => {
  for (const output of plan.querySelectorAll("output"))
    output.value = plan.elements[output.htmlFor.value].value + output.dataset.unit;
  planned.setAttribute("aria-busy", "true");
  if (start) start.disabled = true; // what is started is what is shown
  clearTimeout(timer);
  timer = setTimeout(ask, milliseconds);
};
plan.addEventListener("input", () => wait(300));
if (!planned.querySelector(".facts")) wait(0);
