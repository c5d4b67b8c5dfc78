"use strict";

// Without this script the page is complete; it adds sorting, printing in full, and the data file.

const raw = (cell) => {
  const value = cell.dataset.value;
  if (value !== undefined) return Number(value);
  // A number that was not measured has no value, and sorts last.
  return cell.classList.contains("number") ? NaN : cell.textContent.trim();
};

const compare = (a, b) => {
  if (typeof a === "string" && typeof b === "string") {
    return a.localeCompare(b, undefined, { numeric: true });
  }
  return a - b;
};

const missing = (value) => Number.isNaN(value);

function sort(table, column, header) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, value: raw(row.cells[column]) }));
  rows.sort((a, b) => {
    if (missing(a.value) || missing(b.value)) return missing(a.value) - missing(b.value);
    return (ascending ? 1 : -1) * compare(a.value, b.value);
  });
  body.append(...rows.map((entry) => entry.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, column, header));
    header.append(button);
  });
}

// A link to a run, or to a place inside one, opens it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", reveal);
if (location.hash) reveal();

// Paper has no folds.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});

const save = document.createElement("button");
save.type = "button";
save.textContent = "Save the data as JSON";
save.addEventListener("click", () => {
  const text = document.getElementById("data").textContent;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `${document.title}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
});
document.querySelector("footer").append(save);
