// The list of slides: finding and ordering.
"use strict";

const cards = document.getElementById("cards");
const given = [...cards.children];
const find = document.getElementById("find");
const order = document.getElementById("order");

const orders = {
  given: null,
  probability: (a, b) => Number(b.dataset.probability) - Number(a.dataset.probability),
  name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
};

function arrange() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const sorted = orders[order.value] ? [...given].sort(orders[order.value]) : given;
  cards.append(...sorted);
  let shown = 0;
  for (const card of given) {
    card.hidden = !words.every((word) => card.dataset.text.includes(word));
    shown += card.hidden ? 0 : 1;
  }
  const all = given.length;
  document.getElementById("count").textContent = shown === all ? `${all} slides` : `${shown} of ${all} slides`;
  document.getElementById("nothing").hidden = shown > 0;
}

find.addEventListener("input", arrange);
order.addEventListener("change", arrange);
document.getElementById("choose").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== find) {
    event.preventDefault();
    find.focus();
  }
});
arrange(); // a browser that comes back keeps what was typed
