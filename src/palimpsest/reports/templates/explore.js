// The explorer: the page holds every mean; here the reader chooses which to see. No numbers are made.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const ROWS = 200;
  const POINTS = 400;
  const MARKS = ["circle", "square", "diamond", "up", "down", "plus", "bar"];
  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-explore]").forEach(explore));

  function explore(box) {
    const data = JSON.parse(document.getElementById("explore-data").textContent);
    const dims = data.dimensions;
    const at = { mean: dims.length + 2, low: dims.length + 3, high: dims.length + 4, n: dims.length + 5, unit: dims.length + 6, replicate: dims.length + 1 };
    const find = (kind) => box.querySelector(`[data-explore-${kind}]`);
    const [tools, chart, legend, table, count, csv] = ["tools", "chart", "legend", "table", "count", "csv"].map(find);
    const dimension = (name) => dims.findIndex((d) => d.name === name);
    const name = (d, row) => String(dims[d].values[row[d + 1]] ?? "–");
    const said = (text) => text.replaceAll("_", " ");
    const state = { metric: "", x: "", colour: "", replicate: "", unit: "", order: "", is: {} };

    const start = () => {
      const asked = location.hash.startsWith("#explore?") ? new URLSearchParams(location.hash.slice(9)) : null;
      const chosen = data.chosen;
      state.metric = choice(asked?.get("metric"), data.metrics) ?? chosen.metric;
      const names = dims.map((d) => d.name);
      state.x = choice(asked?.get("x"), names) ?? chosen.x;
      state.colour = asked && asked.has("colour") ? choice(asked.get("colour"), names) ?? "" : chosen.colour;
      state.replicate = choice(asked?.get("replicate"), data.replicates) ?? "";
      state.unit = choice(asked?.get("interval"), data.units) ?? data.unit;
      state.order = asked?.get("order") === "value" ? "value" : "";
      state.is = Object.fromEntries(names.map((n) => [n, asked ? asked.get(`is.${n}`) ?? "" : chosen[n] ?? ""]));
      if (asked) box.closest("section").scrollIntoView();
    };
    const choice = (value, allowed) => (allowed.includes(value) ? value : undefined);

    // Rows of the view. A filter whose value has no row here gives way to the value with most rows.
    const view = () => {
      const metric = data.metrics.indexOf(state.metric);
      const replicate = state.replicate === "" ? null : data.replicates.indexOf(state.replicate);
      const one = new Map();
      for (const row of data.rows) {
        if (row[0] !== metric || row[at.replicate] !== replicate) continue;
        const place = row.slice(1, dims.length + 1).join(" ");
        if (!one.has(place) || data.units[row[at.unit]] === state.unit) one.set(place, row);
      }
      let rows = [...one.values()];
      const open = {};
      dims.forEach((dim, d) => {
        const found = new Map();
        for (const row of rows) found.set(name(d, row), (found.get(name(d, row)) || 0) + 1);
        open[dim.name] = dim.values.map((v) => String(v ?? "–")).filter((v) => found.has(v));
        if (state.is[dim.name] && !found.has(state.is[dim.name]) && found.size) {
          state.is[dim.name] = [...found].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
        }
        if (state.is[dim.name]) rows = rows.filter((row) => name(d, row) === state.is[dim.name]);
      });
      return [rows, open];
    };

    const options = (select, values, chosen, first, shown = said) => {
      const made = values.map((value) => new Option(shown(value), value, false, value === chosen));
      if (first !== undefined) made.unshift(new Option(first, "", false, chosen === ""));
      select.replaceChildren(...made);
    };
    const control = (title, set) => {
      const label = document.createElement("label");
      const select = document.createElement("select");
      label.append(`${title} `, select);
      select.addEventListener("change", () => { set(select.value); show(); keep(); });
      tools.append(label);
      return select;
    };
    const controls = {
      metric: control("metric", (v) => { state.metric = v; }),
      x: control("across", (v) => { state.x = v; state.is[v] = ""; }),
      colour: control("colour", (v) => { state.colour = v; if (v) state.is[v] = ""; }),
    };
    const filters = dims.map((d) => control(d.label, (v) => { state.is[d.name] = v; }));
    const replicate = control("replicate", (v) => { state.replicate = v; });

    const unit = control("intervals over", (v) => { state.unit = v; });

    const order = control("order", (v) => { state.order = v; });

    const keep = () => {
      const said = new URLSearchParams({ metric: state.metric, x: state.x, colour: state.colour });
      if (state.unit !== data.unit) said.set("interval", state.unit);
      if (state.order) said.set("order", state.order);
      if (state.replicate) said.set("replicate", state.replicate);
      for (const [key, value] of Object.entries(state.is)) if (value) said.set(`is.${key}`, value);
      try { history.replaceState(null, "", `#explore?${said}`); } catch { /* refused for this file */ }
    };

    const show = () => {
      const [rows, open] = view();
      options(controls.metric, data.metrics, state.metric);
      const names = dims.map((d) => d.name);
      const label = (value) => dims[dimension(value)].label;
      options(controls.x, names, state.x, state.x ? undefined : "nothing", label);
      options(controls.colour, names, state.colour, "none", label);
      dims.forEach((d, i) => {
        options(filters[i], open[d.name], state.is[d.name], "all");
        filters[i].parentElement.hidden = open[d.name].length < 2 || d.name === state.x;
      });
      options(replicate, data.replicates, state.replicate, "all together");
      replicate.parentElement.hidden = data.replicates.length === 0;
      options(unit, data.units, state.unit);
      unit.parentElement.hidden = data.units.length < 2 || state.replicate !== "";
      options(order, ["value"], state.order, "name");
      order.parentElement.hidden = dimension(state.x) < 0 || dims[dimension(state.x)].numeric;
      const shown = sorted(rows);
      count.textContent = `${shown.length} point${shown.length === 1 ? "" : "s"}`;
      draw(shown);
      list(shown);
    };
    const sorted = (rows) => [...rows].sort((a, b) => {
      for (const key of [state.x, state.colour, ...dims.map((d) => d.name)]) {
        const d = dimension(key);
        if (d >= 0 && a[d + 1] !== b[d + 1]) return a[d + 1] - b[d + 1];
      }
      return 0;
    });

    // The numbers again, as a table and as a file.
    const list = (rows) => {
      const varied = dims.map((_, d) => d).filter((d) => new Set(rows.map((row) => row[d + 1])).size > 1 || [state.x, state.colour].includes(dims[d].name));
      const first = [dimension(state.x), dimension(state.colour)].filter((d) => d >= 0);
      const columns = [...new Set([...first, ...varied])];
      const cell = (tag, text, right) => {
        const made = document.createElement(tag);
        made.textContent = text;
        made.className = right ? "right" : "left";
        if (tag === "th") made.scope = "col";
        return made;
      };
      const line = (tag, texts, right) => {
        const row = document.createElement("tr");
        row.append(...texts.map((text, i) => cell(tag, text, right(i))));
        return row;
      };
      const numbers = (i) => i >= columns.length && i < columns.length + 2;
      const right = (i) => numbers(i) || (i < columns.length && dims[columns[i]].numeric);
      const head = [...columns.map((d) => dims[d].label), `${said(state.metric)} [95%]`, "n", "unit"];
      table.tHead.replaceChildren(line("th", head, right));
      table.tBodies[0].replaceChildren(...rows.slice(0, ROWS).map((row) => line("td", [...columns.map((d) => name(d, row)), interval(row), row[at.n].toLocaleString("en-US"), data.units[row[at.unit]]], right)));
      table.caption.textContent = `${said(state.metric)} by ${columns.map((d) => dims[d].label).join(", ")}: mean, 95% interval, n`;
      find("rest").textContent = rows.length > ROWS ? `The first ${ROWS} of ${rows.length} rows; the CSV file has all.` : "";
      const safe = (text) => { const t = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; return /[",\n\r]/.test(t) ? `"${t.replaceAll('"', '""')}"` : t; };
      const out = [["metric", ...dims.map((d) => d.name), "replicate", "mean", "low", "high", "n", "unit"].map(safe).join(",")];
      for (const row of rows) {
        const numeric = (i) => (row[i] === null ? "" : String(row[i]));
        out.push([safe(state.metric), ...dims.map((d, i) => (d.numeric ? String(d.values[row[i + 1]] ?? "") : safe(name(i, row)))), safe(state.replicate || "all together"), numeric(at.mean), numeric(at.low), numeric(at.high), row[at.n], data.units[row[at.unit]]].join(","));
      }
      csv.href = `data:text/csv;charset=utf-8,${encodeURIComponent(`${out.join("\n")}\n`)}`;
    };

    const figure = (value, digits) => {
      if (value === null) return "–";
      const size = Math.abs(value);
      const text = digits !== undefined && size < 1e6 ? value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })
        : Number.isInteger(value) && size < 1e6 ? value.toLocaleString("en-US")
          : size >= 1e6 || (size < 1e-4 && size > 0) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
      return text.replaceAll("-", "−");
    };
    const interval = (row) => {
      if (row[at.low] === null) return `${figure(row[at.mean])} [no interval]`;
      const width = row[at.high] - row[at.low];
      let digits = width > 0 ? Math.min(8, Math.max(width < 100 ? 2 : 0, 1 - Math.floor(Math.log10(width)))) : 2;
      // No end that differs from 0 is shown as 0: that would hide on which side it lies.
      while (digits < 8 && [row[at.low], row[at.high]].some((end) => end !== 0 && Number(end.toFixed(digits)) === 0)) digits++;
      return `${figure(row[at.mean], digits)} [${figure(row[at.low], digits)}, ${figure(row[at.high], digits)}]`;
    };

    const element = (tag, attributes, parent, text) => {
      const made = document.createElementNS(SVG, tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      if (parent) parent.append(made);
      return made;
    };
    const mark = (kind, x, y, parent) => {
      const shapes = {
        circle: "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", square: "M-3.6-3.6H3.6V3.6H-3.6Z", diamond: "M0-5L5 0L0 5L-5 0Z",
        up: "M0-4.8L4.6 3.6H-4.6Z", down: "M0 4.8L4.6-3.6H-4.6Z", plus: "M-1.5-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z", bar: "M-4.5-1.6H4.5V1.6H-4.5Z",
      };
      return element("path", { d: shapes[kind], transform: `translate(${x} ${y})`, fill: "currentColor" }, parent);
    };
    const ticks = (low, high, most) => {
      const raw = (high - low) / most || 1;
      const power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw);
      const found = [];
      for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(Number((k * step).toPrecision(12)));
      return found;
    };
    // Intervals may be far wider than all means together: then they leave the picture.
    const extent = (rows) => {
      const means = rows.map((row) => row[at.mean]);
      const [least, most] = [Math.min(...means), Math.max(...means)];
      const reach = most - least || Math.max(...rows.map((row) => (row[at.high] ?? 0) - (row[at.low] ?? 0)), Math.abs(most) * 0.1, 1e-9);
      let low = Math.min(least, ...rows.map((row) => Math.max(row[at.low] ?? least, least - reach)));
      let high = Math.max(most, ...rows.map((row) => Math.min(row[at.high] ?? most, most + reach)));
      if (high === low) [low, high] = [low - reach, high + reach];
      const pad = (high - low) * 0.05;
      if (low >= 0 && high <= 1 && high - low > 0.4) return [0, 1];
      low = low >= 0 && low - pad < 0 ? 0 : low - pad;
      high += pad;
      return [low, high];
    };

    const draw = (rows) => {
      chart.replaceChildren();
      legend.replaceChildren();
      const x = dimension(state.x);
      const c = dimension(state.colour);
      const points = x >= 0 && dims[x].numeric ? rows.filter((row) => dims[x].values[row[x + 1]] !== null) : rows;
      if (!points.length) { chart.textContent = "No number was measured here."; return; }
      if (points.length > POINTS) { chart.textContent = `${points.length} points are too many for one drawing: choose more.`; return; }
      // A line joins points that differ across only; what each of them has anyway parts no line.
      const place = (row) => `${row[x + 1]} ${row[c + 1]}`;
      const others = dims.map((_, d) => d).filter((d) => d !== x && (d === c || points.some((row, i) => i && place(row) === place(points[i - 1]) && row[d + 1] !== points[i - 1][d + 1])));
      const key = (row) => others.map((d) => row[d + 1]).join(" ");
      const series = [...new Set(points.map(key))];
      const colours = c >= 0 ? [...new Set(points.map((row) => row[c + 1]))].sort((a, b) => a - b) : [];
      const hue = (row) => (c >= 0 ? dims[c].hues[row[c + 1]] : "blue");
      const shape = (row) => MARKS[c >= 0 ? colours.indexOf(row[c + 1]) % MARKS.length : 0];
      const width = Math.max(280, chart.clientWidth || 700);
      const plot = { rows: points, x, c, series, key, hue, shape, width };
      if (x >= 0 && dims[x].numeric) lines(plot); else dots(plot);
      for (const value of colours) {
        const row = points.find((r) => r[c + 1] === value);
        const item = document.createElement("li");
        const icon = element("svg", { viewBox: "-6 -6 12 12", width: 12, height: 12, "aria-hidden": "true", color: `var(--hue-${hue(row)})` });
        mark(shape(row), 0, 0, icon);
        item.append(icon, ` ${said(name(c, row))}`);
        legend.append(item);
      }
    };
    const canvas = (plot, height) => element("svg", {
      viewBox: `0 0 ${plot.width} ${height}`, width: plot.width, height, role: "img",
      "aria-label": `${said(state.metric)} across ${state.x ? dims[dimension(state.x)].label : "nothing"}${plot.c >= 0 ? `, coloured by ${dims[plot.c].label}` : ""}: ${plot.rows.length} means with 95% intervals; the table below has the numbers`,
    }, chart);
    const clip = (svg, box_) => {
      const shape = element("clipPath", { id: "explore-clip" }, element("defs", {}, svg));
      element("rect", box_, shape);
      return element("g", { "clip-path": "url(#explore-clip)" }, svg);
    };
    const point = (plot, row, x, y, across, scale, parent) => {
      const group = element("g", { color: `var(--hue-${plot.hue(row)})` }, parent);
      element("title", {}, group, `${dims.map((d, i) => (row[i + 1] !== null && name(i, row) !== "–" ? `${d.label} ${name(i, row)}` : "")).filter(Boolean).join(", ")}: ${interval(row)}, n = ${row[at.n]} ${data.units[row[at.unit]]}`);
      if (row[at.low] !== null) {
        const [a, b] = [scale(row[at.low]), scale(row[at.high])];
        element("line", across ? { x1: a, x2: b, y1: y, y2: y, stroke: "currentColor", "stroke-width": 1.4 } : { x1: x, x2: x, y1: a, y2: b, stroke: "currentColor", "stroke-width": 1.4 }, group);
      }
      mark(plot.shape(row), x, y, group);
    };

    // A numeric axis: lines with intervals.
    const lines = (plot) => {
      const { rows, x, series, key, width } = plot;
      const height = 330;
      const edge = { left: 52, right: 14, top: 26, bottom: 44 };
      const svg = canvas(plot, height);
      const [low, high] = extent(rows);
      const value = (row) => dims[x].values[row[x + 1]];
      const places = [...new Set(rows.map(value))].sort((a, b) => a - b);
      const [from, to] = [places[0], places.at(-1)];
      const slack = 22;
      const px = (v) => edge.left + slack + (to > from ? (v - from) / (to - from) : 0.5) * (width - edge.left - edge.right - 2 * slack);
      const py = (v) => height - edge.bottom - (v - low) / (high - low) * (height - edge.top - edge.bottom);
      for (const tick of ticks(low, high, 5)) {
        element("line", { x1: edge.left, x2: width - edge.right, y1: py(tick), y2: py(tick), stroke: "var(--grid)" }, svg);
        element("text", { x: edge.left - 7, y: py(tick) + 4, "text-anchor": "end" }, svg, figure(tick));
      }
      let last = -Infinity;
      for (const tick of places.length <= 8 ? places : ticks(from, to, Math.min(8, width / 70))) {
        if (px(tick) - last < 26) continue;
        last = px(tick);
        element("text", { x: last, y: height - edge.bottom + 18, "text-anchor": "middle" }, svg, figure(tick));
      }
      element("text", { x: edge.left, y: 14, class: "explore-name" }, svg, said(state.metric));
      element("text", { x: width - edge.right, y: height - 6, "text-anchor": "end", class: "explore-name" }, svg, dims[x].label);
      const inside = clip(svg, { x: 0, y: edge.top - 6, width, height: height - edge.top - edge.bottom + 12 });
      const gap = places.length > 1 ? Math.min(7, (width - edge.left) / places.length / (series.length + 1)) : 9;
      series.forEach((one, i) => {
        const mine = rows.filter((row) => key(row) === one);
        const shift = (i - (series.length - 1) / 2) * gap;
        const path = mine.map((row, j) => `${j ? "L" : "M"}${px(value(row)) + shift} ${py(row[at.mean])}`).join("");
        element("path", { d: path, fill: "none", stroke: `var(--hue-${plot.hue(mine[0])})`, "stroke-width": 1.6, opacity: 0.75 }, inside);
        for (const row of mine) point(plot, row, px(value(row)) + shift, py(row[at.mean]), false, py, inside);
      });
    };

    // Names: one band each, values across.
    const dots = (plot) => {
      const { rows, x, series, key, width } = plot;
      const codes = x >= 0 ? [...new Set(rows.map((row) => row[x + 1]))].sort((a, b) => a - b) : [0];
      const places = new Map(codes.map((code) => [code, []]));
      for (const row of rows) places.get(x >= 0 ? row[x + 1] : 0).push(row);
      // By the value of the first colour; rows of a band come in the order of colours.
      if (state.order) {
        const first = Math.min(...rows.map((row) => row[plot.c + 1]));
        const leading = (code) => places.get(code).find((row) => row[plot.c + 1] === first || plot.c < 0)?.[at.mean] ?? -Infinity;
        codes.sort((a, b) => leading(b) - leading(a));
      }
      const step = Math.min(13, Math.max(5, 60 / series.length));
      const bands = codes.map((code) => Math.max(24, places.get(code).length * step + 10));
      const height = bands.reduce((a, b) => a + b, 0) + 58;
      const names = codes.map((code) => (x >= 0 ? said(String(dims[x].values[code] ?? "–")) : ""));
      const left = Math.min(width * 0.4, Math.max(...names.map((n) => n.length), 2) * 6.8 + 14);
      const edge = { right: 16, top: 24, bottom: 34 };
      const svg = canvas(plot, height);
      const [low, high] = extent(rows);
      const px = (v) => left + 8 + (v - low) / (high - low) * (width - left - edge.right - 8);
      for (const tick of ticks(low, high, Math.min(6, width / 90))) {
        element("line", { x1: px(tick), x2: px(tick), y1: edge.top, y2: height - edge.bottom, stroke: "var(--grid)" }, svg);
        element("text", { x: px(tick), y: height - edge.bottom + 17, "text-anchor": "middle" }, svg, figure(tick));
      }
      element("text", { x: width - edge.right, y: 14, "text-anchor": "end", class: "explore-name" }, svg, said(state.metric));
      const inside = clip(svg, { x: left, y: 0, width: width - left, height });
      let top = edge.top;
      codes.forEach((code, i) => {
        const most = Math.floor((left - 12) / 6.6);
        const label = element("text", { x: left - 8, y: top + bands[i] / 2 + 4, "text-anchor": "end" }, svg, names[i].length > most ? `${names[i].slice(0, Math.max(1, most - 1))}…` : names[i]);
        if (names[i].length > most) element("title", {}, label, names[i]);
        element("line", { x1: left, x2: width - edge.right, y1: top + bands[i], y2: top + bands[i], stroke: "var(--grid)" }, svg);
        const mine = places.get(code);
        mine.forEach((row, j) => point(plot, row, px(row[at.mean]), top + bands[i] / 2 + (j - (mine.length - 1) / 2) * step, true, px, inside));
        top += bands[i];
      });
    };

    start();
    find("static").hidden = true;
    for (const part of [tools, chart, csv.parentElement]) part.hidden = false;
    show();
    addEventListener("hashchange", () => { if (location.hash.startsWith("#explore?")) { start(); show(); } });
    let waiting;
    let wide = chart.clientWidth;
    addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { if (chart.clientWidth !== wide) { wide = chart.clientWidth; show(); } }, 120);
    });
  }
})();
