"use strict";
// On a phone what passed is folded away; on paper everything is open.
if (matchMedia("(max-width: 640px)").matches) {
  for (const part of document.querySelectorAll("details.fold")) part.open = false;
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of closed) part.open = false;
});
// The search of the tensor table; without it all rows are there.
for (const box of document.querySelectorAll(".search")) {
  const rows = [...document.querySelectorAll("#tensor-rows tr")];
  const text = box.querySelector("input[type=search]");
  const only = box.querySelector("input[type=checkbox]");
  const said = box.querySelector("output");
  const names = rows.map((row) => row.textContent.toLowerCase());
  const update = () => {
    const parts = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      const found = parts.every((part) => names[i].includes(part));
      row.hidden = !found || (only.checked && row.classList.contains("equal"));
      shown += !row.hidden;
    });
    said.textContent = `${shown} of ${rows.length} shown`;
  };
  text.addEventListener("input", update);
  only.addEventListener("change", update);
  box.hidden = false;
  update();
}
