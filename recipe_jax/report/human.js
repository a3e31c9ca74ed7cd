// Keys that answer, a search among many classes, and how long an answer took.
(() => {
  "use strict";
  // The second half of a double press lands on the next page: nobody looks at an example so quickly.
  const LEAST_SECONDS = 0.4;
  const form = document.querySelector("form");
  const buttons = [...form.querySelectorAll(".choices button")];
  const search = document.getElementById("search");
  const shown = performance.now();
  let sent = false;

  form.addEventListener("submit", (event) => {
    const spent = (performance.now() - shown) / 1000;
    if (sent || spent < LEAST_SECONDS) return event.preventDefault();
    sent = true;
    form.elements.spent_seconds.value = spent.toFixed(2);
  });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target instanceof HTMLInputElement) return;
    buttons.find(({ dataset }) => dataset.key && dataset.key === event.key)?.click();
  });

  // What is the very symbol or name comes first, then what begins so, then what holds it.
  const rank = (button, typed) => {
    const { symbol } = button.dataset;
    const name = button.firstElementChild.textContent;
    if (typed === symbol || typed === name) return 0;
    const [low, words] = [name.toLowerCase(), typed.toLowerCase()];
    if (low === words) return 1;
    return low.startsWith(words) ? 2 : low.includes(words) ? 3 : 4;
  };
  search?.addEventListener("input", () => {
    const ranked = buttons.map((button) => [typedRank(button), button]);
    ranked.sort(([a], [b]) => a - b);
    for (const [place, button] of ranked) {
      button.hidden = place === 4;
      button.parentElement.append(button);
    }
  });
  const typedRank = (button) => (search.value === "" ? 0 : rank(button, search.value));
  search?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const first = form.querySelector(".choices button:not([hidden])");
    if (search.value !== "" && first) first.click();
  });
})();
