// Figures of curves and points are drawn again from their data, so that a reader can
// ask for values, hide trials and choose scales. Without this script their images stand.
{
  const [INK, MUTED, RULE] = ["#1f2328", "#5b646e", "#e3e6ea"];
  const LETTER = 7; // pixels, the width of most letters
  const PANEL = 205; // pixels: so wide a panel can be read
  const EARLY = 0.25; // of training: until then curves may leave the axes
  const REACH = 60; // pixels: farther away no value is meant
  const LOST = 14; // pixels, a row of bars of the networks that failed
  const SCALES = {
    linear: [(value) => value, (place) => place],
    // What is not positive lies below all.
    log: [(value) => (value > 0 ? Math.log10(value) : -Infinity), (place) => 10 ** place],
    error: [(value) => -Math.log10(1 - value), (place) => 1 - 10 ** -place],
  };
  const SUFFIX = { linear: "", log: ", log scale", error: " (error on log scale)" };
  const known = (value) => value !== null && value !== undefined;
  const within = (value, [low, high]) => Math.min(Math.max(value, low), high);
  let clips = 0;

  // Adds an element of the parent's kind, HTML or SVG, to it.
  const add = (parent, name, attributes = {}, text = "") => {
    const made = document.createElementNS(parent.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return parent.appendChild(made);
  };

  const numberText = (value) => {
    const size = Math.abs(value);
    const digits = size < 1000 ? { maximumSignificantDigits: 4 } : { maximumFractionDigits: 0 };
    const tiny = size && size < 1e-4;
    const text = tiny ? value.toExponential(2) : value.toLocaleString("en", digits);
    return text.replaceAll("-", "\u2212");
  };
  const textOf = (axis, value, decimals) => {
    if (!axis.percent) return numberText(value);
    const share = 100 * value;
    return `${decimals ? share.toFixed(decimals) : +share.toPrecision(5)} %`.replace("-", "\u2212");
  };

  const evenTicks = (low, high, most) => {
    const unit = 10 ** Math.floor(Math.log10((high - low) / most));
    const step = unit * [1, 2, 2.5, 5, 10].find((m) => m * unit * most >= high - low);
    const first = Math.ceil(low / step);
    const count = Math.floor(high / step) - first + 1;
    return Array.from({ length: count }, (_, n) => (first + n) * step);
  };
  const decadeTicks = (low, high, most) => {
    const first = Math.floor(Math.log10(low));
    const decades = Array.from({ length: Math.log10(high) - first + 1 }, (_, n) => 10 ** (first + n));
    const thin = Math.ceil(decades.length / most);
    const choices = [[1, 1.5, 2, 3, 4, 5, 7], [1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map((parts) =>
      decades.flatMap((decade) => parts.map((m) => m * decade)),
    );
    choices.push(decades.filter((_, n) => n % thin === 0));
    const inside = choices.map((ticks) => ticks.filter((v) => low <= v && v <= high));
    return inside.find((ticks) => ticks.length <= most) ?? inside.at(-1);
  };
  const ticksOf = (scale, [low, high], most) => {
    if (scale === "linear") return evenTicks(low, high, most);
    const [from, to] = scale === "log" ? [low, high] : [1 - high, 1 - low];
    const found = decadeTicks(from, to, most);
    if (found.length < 3 && to < 10 * from) return evenTicks(low, high, most);
    return scale === "log" ? found : found.map((error) => 1 - error);
  };

  // A text in at most two lines of so many letters.
  const lines = (text, most) => {
    const found = [""];
    for (const word of text.split(" ")) {
      const longer = `${found.at(-1)} ${word}`.trim();
      if (longer.length > most && found.at(-1)) found.push(word);
      else found[found.length - 1] = longer;
    }
    const two = [found[0], found.slice(1).join(" ")].filter(Boolean);
    return two.map((line) => (line.length > most ? `${line.slice(0, most - 1)}\u2026` : line));
  };

  // Moves places apart: down until no two are closer than `gap`, then up into the axes.
  const spread = (places, gap, low, high) => {
    const order = places.map((_, n) => n).sort((a, b) => places[a] - places[b]);
    const moved = [...places];
    let last = low - gap;
    for (const n of order) last = moved[n] = Math.max(moved[n], last + gap);
    last = high + gap;
    for (const n of order.reverse()) last = moved[n] = Math.min(moved[n], last - gap);
    return moved;
  };

  const path = (points) => {
    let pen = "M";
    return points.map(([x, y]) => {
      const there = Number.isFinite(x + y);
      const step = there ? `${pen}${x.toFixed(1)} ${y.toFixed(1)}` : "";
      pen = there ? "L" : "M";
      return step;
    }).join("");
  };

  // Returns the pixel of a value between two pixels; far outside, one far outside.
  const ruler = (scale, ends, from, to, top = Infinity) => {
    const [start, end] = ends.map(SCALES[scale][0]);
    return (value) => {
      if (!known(value)) return NaN;
      const share = (SCALES[scale][0](Math.min(value, top)) - start) / (end - start);
      return from + within(share, [-9, 9]) * (to - from);
    };
  };

  // What can be changed: the trials that are hidden, the scales, and the view.
  const stateOf = (data) => {
    const { panels } = data;
    const isCurve = (one) => one.look === "solid" || one.look === "dashed";
    const hidden = new Set();
    const changed = { along: "", value: "" };
    const state = { hidden, changed, isCurve, all: false };
    state.shown = (panel) => panel.series.filter((one) => !hidden.has(one.group));
    state.scale = (panel, which) => changed[which] || panel[which].scale;

    const every = (panel, which) => {
      if (which === "along" && panel.along.ticks) return panel.along.ticks.map(([place]) => place);
      return panel.series.flatMap((one) => (which === "value" ? one.mean : one.x));
    };
    // The other scale that an axis could have; "" for none.
    state.other = (which) => {
      const { scale, percent, top } = panels[0][which];
      const isAlike = (axis) => axis.scale === scale && Boolean(axis.percent) === Boolean(percent);
      if (!panels.every((panel) => isAlike(panel[which]))) return "";
      if (which === "along" && panels[0].rows) return "";
      if (scale !== "linear") return "linear";
      if (percent) return top ? "error" : "";
      const values = panels.flatMap((panel) => every(panel, which)).filter(known);
      const positive = new Set(values.filter((value) => value > 0));
      const whole = which === "along" && panels[0].training && !panels[0].along.ticks;
      return positive.size > 2 && (whole || Math.min(...values) > 0) ? "log" : "";
    };

    // Limits in which all that is shown is seen, or of curves what follows their rise.
    const fitted = (panel) => {
      const [to, back] = SCALES[state.scale(panel, "value")];
      const place = (value) => to(Math.min(value, panel.value.top ?? Infinity));
      const [core, ends] = [[], []];
      const alike = panels.filter((like) => String(like.value.ends) === String(panel.value.ends));
      for (const [like, one] of alike.flatMap((like) => state.shown(like).map((one) => [like, one]))) {
        const rise = like.training && isCurve(one) && one.x.length > 2 && !state.all;
        one.mean.forEach((mean, n) => {
          if (!known(mean) || (rise && one.x[n] < EARLY * one.x.at(-1))) return;
          core.push(place(mean));
          ends.push(...[one.low[n], one.high[n]].filter(known).map(place));
        });
      }
      const finite = core.filter(Number.isFinite);
      if (!finite.length) return panel.value.ends;
      const [low, high] = [Math.min(...finite), Math.max(...finite)];
      // Wide intervals would leave no room for the means.
      const reach = [low - (high - low) / 4, high + (high - low) / 4];
      const near = [low, high, ...ends.map((end) => within(end, reach))];
      const [least, most] = [Math.min(...near), Math.max(...near)];
      const margin = 0.06 * (most - least) || 0.05 * Math.abs(most) || 0.05;
      return [back(least - margin), back(most + margin)];
    };
    state.ends = (panel, which) => {
      const axis = panel[which];
      const scale = state.scale(panel, which);
      const fits = which === "value" && (state.all || hidden.size);
      let [low, high] = fits ? fitted(panel) : axis.ends;
      if (scale === "error") high = Math.min(high, axis.top);
      if (scale === "log" && low <= 0)
        low = 0.9 * Math.min(high, ...every(panel, which).filter((value) => value > 0));
      if (scale !== axis.scale && which === "along" && !axis.ticks && scale === "linear") low = 0;
      return [low, high];
    };
    // A panel without a name has that of one with the same axis.
    state.label = (panel, which) =>
      panels.map((one) => one[which]).find(({ label, ends }) =>
        label && (panel[which].label ? label === panel[which].label : String(ends) === String(panel[which].ends)),
      )?.label ?? "";
    return state;
  };

  // Where a panel's axes lie in its box, which is what texts leave, and their rulers.
  const frameOf = (panel, box, data, state) => {
    const { rows, along, value } = panel;
    const series = state.shown(panel);
    const ends = state.ends(panel, "value");
    const scale = state.scale(panel, "value");
    // A trial with a solid line is named at that, any other at the line that it has.
    const solid = new Set(series.filter((one) => one.look === "solid").map((one) => one.group));
    const isLine = ({ look, group }) =>
      look === "solid" || look === "across" || (look === "dashed" && !solid.has(group));
    const named = rows ? [] : series.filter(isLine).map((one) => [one, data.groups[one.group][0]]);
    const longest = LETTER * Math.max(0, ...named.map(([, text]) => text.length));
    const some = named.length > 0 && named.length < 13 && data.groups.length > 1;
    const fits = some && box.width > 330 && longest < 0.3 * box.width;
    const kinds = [...new Set(panel.shares.map(([, , row]) => row))];
    const ticks = ticksOf(scale, ends, rows ? box.width / 110 : box.height / 40);
    const levels = ticks.filter((tick) => !value.percent || (tick >= 0 && tick <= 1));
    const letters = rows ? along.ticks.map(([, text]) => text) : levels.map((tick) => textOf(value, tick));
    const room = Math.min(LETTER * Math.max(...letters.map((text) => text.length)), 0.4 * box.width);
    const isBelow = (one) => one.look === "point" && known(one.mean[0]) && one.mean[0] < ends[0];
    const aside = rows ? (kinds.length ? 62 : 10) : fits ? longest + 22 : series.some(isBelow) ? 52 : 10;
    const [left, right] = [box.x + room + 13, box.x + box.width - aside];
    const top = box.y + (panel.title ? 16 : 0) + (rows ? 12 : 26);
    const bottom = box.y + box.height - 38;
    const foot = rows || !kinds.length ? bottom : bottom - LOST * kinds.length - 16;
    const alongScale = state.scale(panel, "along");
    const put = ruler(alongScale, state.ends(panel, "along"), rows ? bottom : left, rows ? top : right);
    const rise = ruler(scale, ends, rows ? left : foot, rows ? right : top, value.top);
    // Training begins at 0, which a log axis leaves out.
    const there = (place) => (alongScale === "log" && place <= 0 ? NaN : put(place));
    const at = (place, level) => (rows ? [rise(level), there(place)] : [there(place), rise(level)]);
    const names = fits ? named : [];
    return { left, right, top, bottom, foot, room, put, rise, at, levels, kinds, names, ends, series, panel };
  };

  const drawAxes = (panel, box, state, frame, { write, line, across }) => {
    const { left, right, top, bottom, room, put, rise, ends } = frame;
    const { rows, along, value } = panel;
    const [alongScale, valueScale] = ["along", "value"].map((which) => state.scale(panel, which));
    const [middle, end] = ["middle", "end"].map((anchor) => ({ "text-anchor": anchor }));
    const label = state.label(panel, "value") + SUFFIX[valueScale];
    if (panel.title) write(box.x, box.y + 13, lines(panel.title, box.width / 8)[0], { "font-weight": 600 });
    if (!rows && box.first) write(box.x, top - 11, label, { fill: MUTED });
    // The highest place of an error's log scale stands for 100 %.
    const highest = valueScale === "error" && ends[1] >= value.top ? [value.top] : [];
    const clear = (tick) => highest.every((most) => Math.abs(rise(most) - rise(tick)) > (rows ? 40 : 14));
    for (const tick of [...frame.levels.filter(clear), ...highest]) {
      const text = highest.includes(tick) ? "100 %" : textOf(value, tick);
      across(tick, RULE);
      if (rows) write(rise(tick), bottom + 16, text, middle);
      else write(left - 6, rise(tick) + 4, text, end);
    }
    line(left, top, left, bottom, MUTED);
    line(left, bottom, right, bottom, MUTED);
    for (const [place, text] of rows ? along.ticks : []) {
      const parts = lines(text, Math.floor(room / LETTER) + 1);
      parts.forEach((part, n) => write(left - 6, put(place) + 4 + 14 * (n - (parts.length - 1) / 2), part, end));
    }
    const count = Math.max((right - left) / 60, 2);
    const even = () => ticksOf(alongScale, state.ends(panel, "along"), count).map((tick) => [tick, numberText(tick)]);
    let free = -Infinity;
    for (const [tick, text] of rows ? [] : [...(along.ticks ?? even())].sort((a, b) => a[0] - b[0])) {
      const [p, half] = [put(tick), (LETTER * text.length) / 2];
      if (p - half < free + 6 || p > right + 1) continue;
      free = p + half;
      line(p, bottom, p, bottom + 3, MUTED);
      write(p, bottom + 16, text, middle);
    }
    const words = rows ? label : state.label(panel, "along") + (along.ticks ? "" : SUFFIX[alongScale]);
    write((left + right) / 2, bottom + 33, words, { fill: MUTED, ...middle });
  };

  // Draws a panel into a box; returns for each value where it is.
  const drawPanel = (into, panel, box, data, state) => {
    const { rows } = panel;
    const frame = frameOf(panel, box, data, state);
    const { left, right, top, bottom, foot, rise, at, series } = frame;
    const write = (x, y, text, more = {}, parent = into) =>
      add(parent, "text", { x, y, fill: INK, "font-size": 12, ...more }, text);
    const line = (x1, y1, x2, y2, stroke, parent = into, more = {}) =>
      add(parent, "line", { x1, y1, x2, y2, stroke, ...more });
    const across = (level, ...look) => {
      const p = rise(level);
      return rows ? line(p, top, p, bottom, ...look) : line(left, p, right, p, ...look);
    };
    drawAxes(panel, box, state, frame, { write, line, across });

    // What lies beyond the axes is cut off.
    const id = `clip-${(clips += 1)}`;
    add(add(into, "clipPath", { id }), "rect", { x: left, y: top - 3, width: right - left + 4, height: foot - top + 3 });
    const inner = add(into, "g", { "clip-path": `url(#${id})`, fill: "none", "stroke-linejoin": "round" });
    for (const chance of panel.chances) {
      across(chance, MUTED, inner, { "stroke-dasharray": "1 3" });
      const [x, y] = rows ? [rise(chance) + 3, top + 9] : [right - 2, rise(chance) - 3];
      write(x, y, "chance", { fill: MUTED, "font-size": 11, "text-anchor": rows ? "start" : "end" }, inner);
    }
    for (const joined of new Set(series.map((one) => one.line).filter(Boolean))) {
      const some = series.filter((one) => one.line === joined && known(one.mean[0]));
      const points = some.sort((a, b) => a.x[0] - b.x[0]).map((one) => at(one.x[0], one.mean[0]));
      add(inner, "path", { d: path(points), stroke: some[0]?.tint, "stroke-width": 1.5 });
    }
    const hits = [];
    const places = series.map((one) => at(one.x[0], one.mean[0]));
    // Names beside points, and how many stand at the foot of a place.
    const beside = { ...frame, write, below: {}, names: { places, taken: [], right } };
    for (const one of series) {
      const draw = state.isCurve(one) ? drawCurve : one.look === "point" ? drawPoint : drawAcross;
      for (const [n, x, y] of draw(add(inner, "g", { "data-group": one.group }), one, beside))
        if (x >= left - 1 && x <= right + 1 && Number.isFinite(y))
          hits.push({ one, n, panel, at, x, y: within(y, [top, rows ? bottom : foot]) });
    }
    if (frame.kinds.length) drawShares(into, frame, write);

    // Names at the ends of lines, where they have room.
    const ends = frame.names.map(([one]) => rise(one.mean.findLast(known) ?? frame.ends[0]));
    const inside = ends.map((y) => within(y, [top, foot]));
    spread(inside, 14, top, foot).forEach((y, n) => {
      const [one, text] = frame.names[n];
      const arrow = ends[n] < top - 1 ? "\u2191 " : ends[n] > foot + 1 ? "\u2193 " : "";
      const group = add(into, "g", { "data-group": one.group });
      line(right + 1, inside[n], right + 12, y, one.color, group);
      write(right + 15, y + 4, arrow + text, {}, group);
    });
    return hits;
  };

  // These draw a series, and return [index, x, y] of what can be asked for.

  const drawAcross = (into, { mean, low, high, color }, { left, right, at }) => {
    const [y, from, to] = [mean, low, high].map((levels) => at(1, levels[0])[1]);
    const width = right - left;
    if (from > to) add(into, "rect", { x: left, y: to, width, height: from - to, fill: color, opacity: 0.1 });
    const look = { stroke: color, "stroke-width": 2, "stroke-dasharray": "9 4" };
    add(into, "line", { x1: left, y1: y, x2: right, y2: y, ...look });
    return [[0, (left + right) / 2, y]];
  };

  // Writes a name right or left of its point, unless another name or point is there.
  const nameBeside = ([x, y], text, { places, taken, right }, write, into) => {
    const width = LETTER * text.length;
    for (const [start, anchor] of [[x + 9, "start"], [x - 9 - width, "end"]]) {
      const covers = ([from, to, level]) => from < start + width && to > start && Math.abs(level - y) < 12;
      if (start + width > right + 8 || taken.some(covers) || places.some(([p, level]) => covers([p - 5, p + 5, level]))) continue;
      taken.push([start, start + width, y]);
      return write(anchor === "start" ? start : x - 9, y + 4, text, { "font-size": 11, "text-anchor": anchor }, into);
    }
  };

  const drawPoint = (into, one, { below, left, right, foot, at, panel, names, write }) => {
    const { x: [place], mean: [level], color } = one;
    for (const [seed] of one.seeds) {
      const [cx, cy] = at(place, seed);
      add(into, "circle", { cx, cy, r: 2, fill: color, opacity: 0.4 });
    }
    const ends = [one.low[0], one.high[0]].map((end) => at(place, end));
    if (known(one.low[0])) add(into, "path", { d: path(ends), stroke: color, "stroke-width": 3, opacity: 0.8 });
    const [x, y] = at(place, level ?? panel.value.ends[0]);
    if (!known(level)) return [[0, panel.rows ? left : x, panel.rows ? y : foot]];
    add(into, "circle", { cx: x, cy: y, r: 4.5, fill: color });
    if (one.ring) add(into, "circle", { cx: x, cy: y, r: 8, stroke: one.ring, "stroke-width": 1.5 });
    // A point beyond the axes is named at their edge, beside its interval.
    const text = textOf(panel.value, level, 2);
    if (panel.rows && x < left) write(left + 3, y + 4, `\u2190 ${text}`, { "font-size": 11 }, into);
    if (!panel.rows && y > foot) {
      below[place] = (below[place] ?? 0) + 1;
      write(x + 5, foot + 8 - 12 * below[place], `\u2193 ${text}`, { "font-size": 11 }, into.parentNode.parentNode);
    }
    if (!panel.along.ticks) nameBeside([x, y], one.name, names, write, into);
    return [[0, panel.rows ? within(x, [left, right]) : x, y]];
  };

  const drawCurve = (into, one, { left, top, foot, at }) => {
    const { x: places, mean, low, high, color } = one;
    const through = (levels) => places.map((place, n) => at(place, levels[n]));
    const points = through(mean);
    const stroke = { stroke: color, "stroke-width": 2 };
    const band = [...through(high), ...through(low).reverse()].filter(([x, y]) => Number.isFinite(x + y));
    if (band.length) add(into, "path", { d: `${path(band)}Z`, fill: color, opacity: 0.14 });
    for (const thin of [...one.seeds, ...one.lost])
      add(into, "path", { d: path(through(thin)), stroke: color, "stroke-width": 0.8, opacity: 0.5 });
    const dash = one.look === "dashed" ? { "stroke-dasharray": "5 3" } : {};
    add(into, "path", { d: path(points), ...stroke, ...dash });
    const there = points.map(([x, y], n) => [n, x, y]).filter(([, x, y]) => Number.isFinite(x + y));
    if (places.length < 3) for (const [, cx, cy] of there) add(into, "circle", { cx, cy, r: 3, fill: color });
    for (const n of new Set(one.stops)) {
      const [x, y] = points[n];
      // Taller where several stopped.
      const half = 3 + Math.min(one.stops.filter((stop) => stop === n).length, 8);
      add(into, "path", { d: path([[x, y - half], [x, y + half]]), stroke: INK });
    }
    for (const lost of one.lost) {
      const last = lost.findLastIndex(known);
      const [x, y] = last < 0 ? [left, foot] : at(places[last], lost[last]);
      add(into, "path", { d: `M${x - 4} ${within(y, [top, foot]) - 4}l8 8m0 -8l-8 8`, ...stroke });
    }
    return there;
  };

  // Bars of the shares of networks that failed: above the sweep, or right of rows.
  const drawShares = (into, { panel, put, kinds, left, right, bottom, foot }, write) => {
    const { rows, shares } = panel;
    const places = panel.along.ticks.map(([place]) => put(place)).sort((a, b) => a - b);
    const apart = places.slice(1).map((place, n) => place - places[n]);
    const thick = Math.min(22, 0.6 * Math.min(...apart, 40));
    const top = rows ? places[0] - thick : foot + 16;
    const [x, width] = rows ? [right + 4, 56] : [left, right - left];
    add(into, "rect", { x, y: top, width, height: (rows ? places.at(-1) + thick : bottom) - top, fill: "#f4f5f7" });
    const filled = {};
    for (const [, fill, row, place, share] of shares) {
      const from = filled[[row, place]] ?? 0;
      filled[[row, place]] = from + share;
      const [middle, high] = [put(place) - thick / 2, LOST - 1];
      const floor = foot + 16 + LOST * (kinds.indexOf(row) + 1);
      const bar = rows
        ? { x: x + width * from, y: middle, width: width * share, height: thick }
        : { x: middle, y: floor - high * (from + share), width: thick, height: high * share };
      add(into, "rect", { ...bar, fill });
    }
    const small = { "font-size": 11, fill: MUTED };
    kinds.forEach((row, n) => rows || write(left + 3, foot + 27 + LOST * n, lines(row, 14)[0], small));
    const key = write(rows ? right + 60 : right, top - 4, rows ? "" : "share of networks: ", { ...small, "text-anchor": "end" });
    for (const [kind, fill] of new Map(shares)) add(key, "tspan", { fill }, ` \u25a0 ${kind}`);
  };

  // What is said of a value.
  const told = ({ one, n, panel }, data, state) => {
    const { along, value, rows } = panel;
    const place = one.x[n];
    const apart = ([p]) => Math.abs(p - place);
    const [nearest] = [...(along.ticks ?? [])].sort((a, b) => apart(a) - apart(b));
    const tick = nearest && apart(nearest) <= 1e-5 * Math.abs(nearest[0]) ? nearest[1] : undefined;
    const where = `${state.label(panel, "along")} ${tick ?? numberText(place)}`;
    const isNamed = rows || one.look === "across" || (tick && one.name.includes(tick));
    const [level, low, high] = [one.mean[n], one.low[n], one.high[n]].map((v) => known(v) && textOf(value, v, 2));
    return [
      one.name,
      isNamed ? "" : where,
      `${state.label(panel, "value")}: ${level ? `${data.center} ${level}` : "no value"}`,
      low ? `95 % ${one.band ?? "interval"} ${low} to ${high}` : "",
      [`n = ${one.n}`, one.fate].filter(Boolean).join("; "),
    ].filter(Boolean);
  };

  const chart = (figure, data) => {
    const plot = figure.querySelector(".plot");
    const { panels, image } = data; // a map is asked, but not drawn again
    const picture = plot.querySelector("svg");
    const drawing = image ? picture : picture.cloneNode(false);
    if (!image) drawing.removeAttribute("class");
    for (const panel of panels) {
      panel.chances ??= [];
      panel.shares ??= [];
      for (const one of panel.series) {
        one.x = data.xs[one.x];
        for (const key of ["mean", "low", "high", "seeds", "lost", "stops"]) one[key] ??= [];
      }
    }
    const state = stateOf(data);
    const { hidden, changed } = state;
    plot.classList.add("drawn");
    plot.replaceChildren();
    const reader = add(plot, "div", { class: "chart", tabindex: 0, role: "group", "aria-label": "Values, by the arrow keys" });
    const tip = add(reader, "div", { class: "tip", role: "status" });
    reader.prepend(drawing);

    let [hits, current, mark] = [[], -1, null];
    const draw = () => {
      mark?.remove();
      if (image) {
        const { width, height } = drawing.viewBox.baseVal;
        const [panel] = panels;
        hits = panel.series.map((one) => ({ one, n: 0, panel, x: one.at[0] * width, y: one.at[1] * height }));
      } else drawPanels();
      mark = add(drawing, "g", { "pointer-events": "none" });
      ask(-1);
    };
    const drawPanels = () => {
      const width = plot.clientWidth || 640;
      const most = within(Math.floor(width / PANEL), [1, panels.length]);
      const even = Array.from({ length: most }, (_, n) => most - n).find((n) => panels.length % n === 0);
      const columns = even > 1 ? even : most;
      const each = (width - 16 * (columns - 1)) / columns;
      const lost = (panel) => LOST * new Set(panel.shares.map(([, , row]) => row)).size;
      const height = (panel) => panel.rows
        ? 56 + 32 * panel.along.ticks.length
        : within((columns > 1 ? 0.95 : 0.56) * each, [226, 380]) + lost(panel);
      drawing.replaceChildren();
      hits = [];
      let y = 0;
      for (let start = 0; start < panels.length; start += columns) {
        const row = panels.slice(start, start + columns);
        const tall = Math.max(...row.map(height));
        row.forEach((panel, n) => {
          const first = !n || state.label(panel, "value") !== state.label(row[n - 1], "value");
          const box = { x: n * (each + 16), y, width: each, height: tall, first };
          hits.push(...drawPanel(add(drawing, "g"), panel, box, data, state));
        });
        y += tall + 6;
      }
      drawing.setAttribute("viewBox", `0 0 ${width} ${y}`);
    };
    const ask = (number) => {
      current = number;
      const hit = hits[number];
      mark.replaceChildren();
      tip.hidden = !hit;
      if (!hit) return;
      const { one, n, x, y, at } = hit;
      const ends = state.isCurve(one) ? [one.low[n], one.high[n]] : [];
      const d = path(ends.map((end) => at(one.x[n], end)));
      add(mark, "path", { d, stroke: one.color, "stroke-width": 2 });
      const look = image ? { fill: "none", stroke: INK, r: 18 } : { fill: one.color, stroke: "#ffffff", r: 6 };
      add(mark, "circle", { cx: x, cy: y, "stroke-width": 2, ...look });
      tip.replaceChildren();
      told(hit, data, state).forEach((text, row) => add(tip, row ? "div" : "strong", {}, text));
      const scale = reader.clientWidth / drawing.viewBox.baseVal.width;
      const left = within(x * scale - tip.offsetWidth / 2, [0, reader.clientWidth - tip.offsetWidth]);
      const above = y * scale - tip.offsetHeight - 14;
      tip.style.left = `${left}px`;
      tip.style.top = `${above < 0 ? y * scale + 16 : above}px`;
    };
    const nearest = (event) => {
      const { left, top, width } = drawing.getBoundingClientRect();
      const scale = drawing.viewBox.baseVal.width / width;
      const [x, y] = [(event.clientX - left) * scale, (event.clientY - top) * scale];
      const far = hits.map((hit) => Math.hypot(hit.x - x, hit.y - y));
      const least = Math.min(REACH, ...far);
      const found = far.indexOf(least);
      if (found !== current) ask(found);
    };
    for (const kind of ["pointermove", "pointerdown"]) drawing.addEventListener(kind, nearest);
    drawing.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && ask(-1));
    addEventListener("pointerdown", (event) => reader.contains(event.target) || ask(-1));
    reader.addEventListener("blur", () => ask(-1));
    reader.addEventListener("keydown", (event) => {
      const { key } = event;
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const turn = { ArrowUp: -1, ArrowDown: 1 }[key];
      if (key === "Escape") ask(-1);
      if ((!step && !turn) || !hits.length) return;
      event.preventDefault();
      if (current < 0) return ask(0);
      if (step) return ask((current + step + hits.length) % hits.length);
      const { one, n } = hits[current];
      const every = [...new Set(hits.map((hit) => hit.one))];
      const next = every.at((every.indexOf(one) + turn) % every.length);
      const place = hits.findLastIndex((hit) => hit.one === next && hit.n <= n);
      ask(place < 0 ? hits.findIndex((hit) => hit.one === next) : place);
    });

    const button = (parent, text, click, attributes = {}) => {
      const made = add(parent, "button", { type: "button", ...attributes }, text);
      made.addEventListener("click", (event) => {
        click(event);
        update();
      });
      return made;
    };
    const list = (name) => add(plot, "div", { class: "keys", role: "group", "aria-label": name });
    const keys = list(data.title || "Trials");
    if (data.title) add(keys, "span", { class: "n" }, data.title);
    const title = "Click: hide or show. Double click, or click with shift: only this one.";
    const toggles = []; // buttons, and whether each is on
    data.groups.forEach(([name, color], group) => {
      const made = button(keys, name, ({ shiftKey, detail }) => {
        if (shiftKey || detail === 2) data.groups.forEach((_, n) => hidden.add(n));
        if (!hidden.delete(group)) hidden.add(group);
      }, { title });
      const swatch = add(made, "span", { class: "swatch" });
      swatch.style.backgroundColor = color;
      made.prepend(swatch);
      toggles.push([made, () => !hidden.has(group)]);
      const stress = ({ type }) => {
        for (const part of drawing.querySelectorAll("[data-group]")) {
          const pale = /enter|focus/.test(type) && part.dataset.group !== String(group);
          part.setAttribute("opacity", pale ? 0.15 : 1);
        }
      };
      for (const kind of ["pointerenter", "focus", "pointerleave", "blur"]) made.addEventListener(kind, stress);
    });
    const every = button(keys, "Show all", () => hidden.clear(), { class: "all" });
    if (data.groups.length < 2) keys.remove();

    const switches = list("Axes");
    switches.classList.add("switches");
    const toggle = (text, isOn, flip) => toggles.push([button(switches, text, flip), isOn]);
    const side = (which) => ((which === "value") === Boolean(panels[0].rows) ? "x" : "y");
    for (const which of image ? [] : ["value", "along"]) {
      const [own, other] = [panels[0][which].scale, state.other(which)];
      const log = own === "linear" ? other : own;
      const text = `${side(which)}: log scale${log === "error" ? " of the error" : ""}`;
      const flip = () => (changed[which] = changed[which] ? "" : other);
      if (other) toggle(text, () => (changed[which] || own) === log, flip);
    }
    const beyond = panels.some(({ series, value: { ends: [low, high] } }) =>
      series.some((one) => one.mean.some((mean) => known(mean) && (mean < low || mean > high))));
    if (beyond && !image) toggle(`${side("value")}: all values`, () => state.all, () => (state.all = !state.all));

    if (!switches.firstChild) switches.remove();

    const update = () => {
      for (const [made, isOn] of toggles) made.setAttribute("aria-pressed", isOn());
      every.hidden = !hidden.size;
      draw();
    };
    update();
    let width = plot.clientWidth;
    new ResizeObserver(() => {
      if (plot.clientWidth === width) return;
      width = plot.clientWidth;
      draw();
    }).observe(plot);
  };

  for (const source of document.querySelectorAll("figure > script"))
    chart(source.parentElement, JSON.parse(source.textContent));
}
