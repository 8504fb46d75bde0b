// Below each table are buttons that copy it as Markdown, LaTeX or with tabs, in the
// present order of its rows; what they copy is as of nnlab/report/copies.py.
{
  const line = (text) => text.trim().replace(/\s+/g, " ");

  const textOf = (cell) => {
    const [verdict, n] = [".verdict", ".n"].map((name) => cell.querySelector(name));
    if (!verdict) return line(cell.textContent);
    return line(verdict.textContent + (n?.textContent ? ` (${n.textContent})` : ""));
  };

  const escapeMarkdown = (text) =>
    text
      .replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;")
      .replace(/[\\`*_[\]|~$#@]/g, "\\$&")
      .replaceAll("://", "\\://").replaceAll("www.", "www\\.")
      .replace(/^([-+=])/, "\\$1").replace(/^(\d+)(?=[.)]\s)/, "$1\\");

  const LATEX = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
    "[": "{[}", "]": "{]}", "\u2212": "$-$", "\u00b1": "$\\pm$", "\u2264": "$\\leq$",
    "\u2265": "$\\geq$", "\u2013": "--", "\u2026": "\\ldots{}",
    "*": "{*}", "-": "-{}",
  };
  const escapeLatex = (text) =>
    text.replace(/^\*|-(?=-)|[%&_#${}\\~^<>|[\]\u2212\u00b1\u2264\u2265\u2013\u2026]/g, (c) => LATEX[c] ?? `\\${c}`);
  const NUMBER = /^(?:(?:x |< |[+\u2212]?)\d|\u2013?$|best$)/;

  const unmarked = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
  const measured = /^[+-][\d,]*\.?\d+(?:[eE][+-]?\d+)?(?: (?:[a-z]+|%))*(?: \((?:[\d.,+\u2212\-% ]|to)*\))?$/;
  const computes = (text) => {
    if (measured.test(text)) return false;
    const bare = text.replace(/^'+/, "");
    return /^[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(bare) && !unmarked.test(bare);
  };

  const tabbed = (text) => {
    if (text.startsWith('"')) return `"${text.replaceAll('"', '""')}"`;
    return computes(text) ? `'${text}` : text;
  };

  const FORMATS = {
    Markdown: ([header, ...rows]) =>
      [header, null, ...rows]
        .map((row) => row?.map(escapeMarkdown) ?? header.map(() => "---"))
        .map((row) => `|${row.map((cell) => ` ${cell} |`).join("")}\n`)
        .join(""),
    LaTeX: ([header, ...rows]) => {
      const sides = header.slice(1).map((_, n) =>
        rows.every((row) => NUMBER.test(row[n + 1])) ? "r" : "l");
      const [top, ...others] = [header, ...rows].map((row) => `${row.map(escapeLatex).join(" & ")} \\\\`);
      return [
        `\\begin{tabular}{l${sides.join("")}}`, "\\toprule", top, "\\midrule", ...others,
        "\\bottomrule", "\\end{tabular}", "",
      ].join("\n");
    },
    tabs: (rows) => rows.map((row) => `${row.map(tabbed).join("\t")}\n`).join(""),
  };

  // Where a page has no clipboard, such as in a frame of a notebook, the older way works.
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("no clipboard");
    }
  };

  for (const table of document.querySelectorAll(".table table")) {
    const bar = document.createElement("p");
    bar.className = "copy";
    const told = document.createElement("span");
    told.setAttribute("role", "status");
    const buttons = Object.entries(FORMATS).map(([name, write]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.setAttribute("aria-label", `Copy this table as ${name}`);
      button.addEventListener("click", async () => {
        const whole = [...table.rows].filter((row) => row.className !== "rest");
        const rows = whole.map((row) => [...row.cells].map(textOf));
        const done = copy(write(rows)).then(() => "copied", () => "the browser refused");
        told.textContent = await done;
        button.focus();
      });
      return button;
    });
    bar.append("Copy as ", ...buttons, told);
    table.parentElement.after(bar);
  }
}
