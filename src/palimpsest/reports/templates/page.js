"use strict";
(() => {
  const root = document.documentElement;
  // page.css leaves out the same rows and cards until grid() and gallery() have run.
  const PAGE = 50;
  const CARDS = 12;

  // On paper nothing can be unfolded: all rows and cards are there, but what a filter leaves out.
  let printing = false;
  const onPrint = (show) => {
    for (const [event, on] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(event, () => { printing = on; show(); });
    }
    show();
  };

  // Light and dark. The choice is kept where the browser allows it (not always for local files).
  const remembered = () => { try { return localStorage.getItem("palimpsest-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("palimpsest-theme", theme); } catch { /* private */ } };
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const stored = remembered();
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;

  // Rows that grid() will hide are not laid out before it does.
  root.classList.add("scripted");

  document.addEventListener("DOMContentLoaded", () => {
    theme();
    document.querySelectorAll("[data-grid]").forEach(grid);
    document.querySelectorAll("[data-gallery]").forEach(gallery);
    document.querySelectorAll("[data-claims]").forEach(verdicts);
    contents();
    document.addEventListener("click", copying);
    openTarget();
    addEventListener("hashchange", openTarget);
  });

  function theme() {
    const button = document.querySelector("[data-theme-toggle]");
    const show = () => {
      button.setAttribute("aria-pressed", String(isDark()));
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      show();
    });
    show();
  }

  function contents() {
    const details = document.querySelector(".toc details");
    const wide = matchMedia("(min-width: 62rem)");
    const fit = () => { details.open = wide.matches; };
    fit();
    wide.addEventListener("change", fit);
    const links = new Map([...details.querySelectorAll("a")].map((a) => [a.hash.slice(1), a]));
    details.addEventListener("click", (event) => {
      if (event.target.closest("a") && !wide.matches) details.open = false;
    });
    const sections = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
    const mark = () => {
      let current = sections[0];
      for (const section of sections) if (section.getBoundingClientRect().top < 140) current = section;
      for (const [id, link] of links) {
        if (current && id === current.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; mark(); });
    }, { passive: true });
    mark();
  }

  // A link to something inside a closed <details> opens it.
  function openTarget() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target && target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  }

  // Words of a table's filter that each row has to have: what stands above it is said of all rows.
  function wanted(box) {
    const said = box?.querySelector("input[type=search]")?.value ?? "";
    const above = alike(box).toLowerCase();
    return said.toLowerCase().split(/\s+/).filter((word) => word && !above.includes(word));
  }

  const alike = (box) => box?.querySelector("[data-alike]")?.textContent ?? "";

  function grid(box) {
    const body = box.querySelector("tbody");
    const rows = [...body.rows];
    const input = box.querySelector("input[type=search]");
    const count = box.querySelector(".grid-count");
    const more = box.querySelector(".grid-more");
    const heads = [...box.querySelectorAll("thead th")];
    let texts;
    let all = false;

    const show = () => {
      const words = wanted(box);
      let hits = 0;
      if (words.length) texts ??= new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
      for (const row of body.rows) {
        const hit = words.every((word) => texts.get(row).includes(word));
        hits += hit;
        row.hidden = !hit || (!all && !printing && hits > PAGE);
      }
      if (count) {
        count.textContent = hits === rows.length ? `${rows.length} rows` : `${hits} of ${rows.length} rows`;
        count.classList.toggle("cut", hits < rows.length);
      }
      more.hidden = all || hits <= PAGE;
      more.firstElementChild.textContent = `Show all ${hits} rows`;
    };
    const key = (row, column) => {
      const cell = row.cells[column];
      const value = cell.dataset.v ?? cell.textContent.trim();
      if (value === "") return null;
      const number = Number(value.replaceAll(",", "").replace("−", "-"));
      return Number.isNaN(number) ? value : number;
    };
    const compare = (a, b) => {
      if (typeof a === "number" && typeof b === "number") return a - b;
      return String(a).localeCompare(String(b), undefined, { numeric: true });
    };
    const sort = (column) => {
      const falling = heads[column].getAttribute("aria-sort") === "ascending";
      heads.forEach((head) => head.removeAttribute("aria-sort"));
      heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
      const keys = new Map(rows.map((row) => [row, key(row, column)]));
      const sorted = rows.map((row, index) => [row, index]).sort(([a, i], [b, j]) => {
        const [x, y] = [keys.get(a), keys.get(b)];
        if (x === null || y === null) return (x === null) - (y === null) || i - j;
        return (falling ? compare(y, x) : compare(x, y)) || i - j;
      });
      body.append(...sorted.map(([row]) => row));
      show();
    };
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (button) button.addEventListener("click", () => sort(column));
    });
    if (input) input.addEventListener("input", show);
    more.firstElementChild.addEventListener("click", () => { all = true; show(); });
    onPrint(show);
    box.dataset.ready = "";
  }

  function gallery(box) {
    const cards = [...box.querySelectorAll(".card")];
    const selects = [...box.querySelectorAll("select")];
    const count = box.querySelector(".grid-count");
    const words = count.textContent;
    const more = box.querySelector(".grid-more");
    let limit = CARDS;
    const show = () => {
      let hits = 0;
      for (const card of cards) {
        const hit = selects.every((select) => !select.value || card.dataset[select.dataset.key] === select.value);
        hits += hit;
        card.hidden = !hit || (!printing && hits > limit);
      }
      count.textContent = hits === cards.length ? words : `${hits} of ${words}`;
      count.classList.toggle("cut", hits < cards.length);
      more.hidden = hits <= limit;
    };
    selects.forEach((select) => select.addEventListener("change", () => { limit = CARDS; show(); }));
    more.firstElementChild.addEventListener("click", () => { limit += 4 * CARDS; show(); });
    onPrint(show);
    box.dataset.ready = "";
  }

  // The overview's claims by verdict; a study without one of the kind goes too.
  function verdicts(box) {
    const select = box.querySelector("select");
    select.addEventListener("change", () => {
      let hits = 0;
      for (const study of document.querySelectorAll(".claims-of")) {
        let some = 0;
        for (const claim of study.querySelectorAll(".claim")) {
          claim.hidden = Boolean(select.value) && claim.dataset.verdict !== select.value;
          some += !claim.hidden;
        }
        study.hidden = !some;
        hits += some;
      }
      box.querySelector(".grid-count").textContent = `${hits} shown`;
      box.querySelector(".grid-count").classList.toggle("cut", Boolean(select.value));
    });
  }

  function copying(event) {
    const button = event.target.closest("[data-copy], [data-export]");
    if (!button) return;
    const text = button.dataset.copy
      ? document.getElementById(button.dataset.copy).innerText
      : exported(document.getElementById(button.dataset.table), button.dataset.export);
    const done = (ok) => {
      const label = button.dataset.label || (button.dataset.label = button.textContent);
      button.textContent = ok ? "Copied" : "Copying was refused";
      document.querySelector(".announcer").textContent = button.textContent;
      setTimeout(() => { button.textContent = label; }, 1600);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => done(true), () => done(byHand(text)));
    else done(byHand(text));
  }

  function byHand(text) {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    let ok = false;
    try { ok = document.execCommand("copy"); } catch { ok = false; }
    area.remove();
    return ok;
  }

  // The table as it stands: sorted and filtered, all pages.
  function exported(table, format) {
    const box = table.closest("[data-grid]");
    const words = wanted(box);
    const text = (cell) => {
      const copy = cell.cloneNode(true);
      copy.querySelectorAll(".unseen, .mark, summary").forEach((extra) => extra.remove());
      copy.querySelectorAll("svg[aria-label]").forEach((bar) => bar.replaceWith(bar.getAttribute("aria-label")));
      return copy.textContent.trim().replace(/\s+/g, " ");
    };
    // A cell over several rows is repeated in each; what a wide cell covers stays empty.
    const lines = (rows) => {
      const held = [];
      return rows.map((row) => {
        const line = [];
        const repeat = () => {
          for (let spot = held[line.length]; spot?.rows > 0; spot = held[line.length]) { spot.rows -= 1; line.push(spot.text); }
        };
        for (const cell of row.cells) {
          repeat();
          const said = text(cell);
          if (cell.rowSpan > 1) held[line.length] = { rows: cell.rowSpan - 1, text: said };
          line.push(said, ...Array(cell.colSpan - 1).fill(""));
        }
        repeat();
        return line;
      });
    };
    const right = [...table.tHead.rows[0].cells].map((cell) => cell.classList.contains("right"));
    const [head] = lines([table.tHead.rows[0]]);
    const body = lines([...table.tBodies].flatMap((part) => [...part.rows])
      .filter((row) => words.every((word) => row.textContent.toLowerCase().includes(word))));
    const above = alike(box);
    if (format === "markdown") {
      const plain = (said) => said.replace(/([\\|<>*_`[\]&~$])/g, "\\$1");
      const row = (cells) => `| ${cells.map(plain).join(" | ")} |`;
      const rows = [row(head), `|${right.map((r) => (r ? "---:" : "---")).join("|")}|`, ...body.map(row)];
      return [...rows, ...(above ? ["", plain(above)] : []), ""].join("\n");
    }
    const special = {
      "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
      "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "–": "--", "−": "$-$", "×": "$\\times$", "→": "$\\to$",
      "≤": "$\\leq$", "≥": "$\\geq$", "⟨": "$\\langle$", "⟩": "$\\rangle$",
    };
    const powers = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    const safe = (cell) => cell.replace(/[\\{}~^<>|–−×→≤≥⟨⟩]|[&%$#_]/g, (c) => special[c] || `\\${c}`)
      .replace(/[⁻⁰¹²³⁴-⁹]+/g, (digits) => `$^{${[...digits].map((d) => (d === "⁻" ? "-" : powers.indexOf(d))).join("")}}$`);
    // Behind \\ or a rule, [ and * would be read as its argument.
    const row = (cells) => `${cells.map(safe).join(" & ").replace(/^[[*]/, "{}$&")} \\\\`;
    return [
      `\\begin{tabular}{${right.map((r) => (r ? "r" : "l")).join("")}}`,
      "\\toprule", row(head), "\\midrule", ...body.map(row), "\\bottomrule", "\\end{tabular}",
      ...(above ? ["", safe(above)] : []), "",
    ].join("\n");
  }
})();
