"use strict";
// Tables are sorted by their headers and folded on a phone, contents mark where the
// reader is, and what is folded is printed. Without this script the page is whole, in the
// order of the tables.
{
  const NOTHING = new Set(["", "\u2013", "\u2014"]);
  // A number, and behind it nothing, its interval, its unit or a remark on it; in
  // "6 x 64" the 6 is not all there is to sort by.
  const NUMBER =
    /^<?\s*([+\u2212-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([kMG]\b)?\s*(?:$|[%\u00b1(]|(?:of|to|points?|updates|nats|s)\b)/;
  const FACTORS = { k: 1e3, M: 1e6, G: 1e9 };

  const textOf = (row, column) => row.cells[column].textContent.trim();

  const numberOf = (text) => {
    const found = NUMBER.exec(text);
    if (!found) return NaN;
    const value = Number(found[1].replaceAll(",", "").replace("\u2212", "-"));
    // "< 0.001" comes before 0.001.
    return value * (FACTORS[found[2]] ?? 1) * (text.startsWith("<") ? 1 - 1e-9 : 1);
  };

  // Keys of a column: numbers where most cells have one, else texts; null for the cells
  // that come last in both directions.
  const keysOf = (rows, column) => {
    const texts = rows.map((row) => textOf(row, column));
    const numbers = texts.map(numberOf);
    const filled = texts.filter((text) => !NOTHING.has(text)).length;
    const counted = numbers.filter((number) => !Number.isNaN(number)).length;
    if (2 * counted > filled) return numbers.map((n) => (Number.isNaN(n) ? null : n));
    return texts.map((text) => (NOTHING.has(text) ? null : text));
  };

  const compare = (a, b) =>
    typeof a === "number"
      ? a - b
      : a.localeCompare(b, document.documentElement.lang, { numeric: true });

  // The rows' places in the new order; equal ones stay as they were.
  const order = (keys, sign) =>
    keys
      .map((_, place) => place)
      .sort((a, b) => {
        if (keys[a] === null || keys[b] === null)
          return (keys[a] === null) - (keys[b] === null);
        return sign * compare(keys[a], keys[b]);
      });

  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        for (const open of body.querySelectorAll("[aria-expanded=true]")) open.click();
        const next = NEXT[header.getAttribute("aria-sort") ?? "none"];
        for (const other of headers) other.removeAttribute("aria-sort");
        if (next === "none") return body.append(...rows);
        header.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        body.append(...order(keysOf(rows, column), sign).map((place) => rows[place]));
      });
    });
  }

  // On a phone a wide table has its first columns; a row shows the others below it.
  const KEPT = 3;
  for (const table of document.querySelectorAll(".table:not(.few) > table")) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    table.classList.add("folds");
    for (const row of table.tBodies[0].rows) {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", `More of ${row.cells[0].textContent}`);
      button.setAttribute("aria-expanded", false);
      row.cells[0].prepend(button);
      button.addEventListener("click", () => {
        const isOpen = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", !isOpen);
        if (isOpen) return row.nextElementSibling.remove();
        const rest = document.createElement("tr");
        const cell = rest.insertCell();
        rest.className = "rest";
        cell.colSpan = KEPT;
        for (const [n, name] of names.entries())
          if (n >= KEPT)
            cell.append(`${name}: ${row.cells[n].textContent}`, document.createElement("br"));
        row.after(rest);
      });
    }
  }

  // What is wider than its box can be scrolled with the keyboard.
  for (const box of document.querySelectorAll(".plot, pre"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;

  const strip = document.querySelector("nav ol");
  const links = new Map(
    [...strip.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]),
  );
  const titles = [...document.querySelectorAll("h1[id], h2[id]")];
  const mark = () => {
    // The last title that is above a third of the window; at the end, the last one.
    const { scrollTop, scrollHeight } = document.documentElement;
    const passed = titles.filter(
      (title) => title.getBoundingClientRect().top < innerHeight / 3,
    );
    const atEnd = scrollTop > 0 && scrollTop + innerHeight >= scrollHeight - 2;
    const read = scrollTop > 0 ? passed.at(-1) : undefined;
    const title = atEnd ? titles.at(-1) : (read ?? titles[0]);
    const current = links.get(title.id);
    for (const link of links.values())
      if (link !== current) link.removeAttribute("aria-current");
    if (!current || current.hasAttribute("aria-current")) return;
    current.setAttribute("aria-current", "true");
    // Along the strip alone: scrollIntoView would move the page.
    strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
  };
  const observer = new IntersectionObserver(mark, { rootMargin: "0px 0px -66% 0px" });
  for (const title of titles) observer.observe(title);
  addEventListener("scrollend", mark);
  mark();

  const folded = [...document.querySelectorAll("details")];
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = folded.filter((details) => !details.open);
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
}
