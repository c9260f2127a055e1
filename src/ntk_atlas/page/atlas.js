// The page of a study. State lives in the URL's hash; numbers are slices of the arrays in the blocks, formatted.
"use strict";
(() => {
const contents = JSON.parse(document.getElementById("contents").textContent);
const $ = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const PLACE = ["depth", "width", "init_scale"];
const MOST_PANELS = 9, MOST_DRAWN = 2500;

// ---- elements ----------------------------------------------------------------------------------------------------
const SVG = "http://www.w3.org/2000/svg";
function element(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "text", "line", "path", "circle", "polygon", "title", "defs", "pattern"].includes(name);
  const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// ---- arrays ------------------------------------------------------------------------------------------------------
const TYPES = {f8: Float64Array, f4: Float32Array, i1: Int8Array, i4: Int32Array};
function numbers(array) {
  if (!array.numbers) {
    const block = $(`block-${array.block}`), text = atob(block.textContent), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    array.numbers = new TYPES[array.type](bytes.buffer);
    block.remove();
  }
  return array.numbers;
}
// The page is long: what stands before this script is there from the start, the rest when all of it has been read.
const here = (array) => Boolean(array.numbers || $(`block-${array.block}`));
const loaded = new Promise((done) => (document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", done) : done()));
function at(array, dims, place) {
  let offset = 0;
  for (let i = 0; i < dims.length; i++) {
    const index = place[dims[i]];
    if (index === undefined || index < 0) return NaN;
    offset = offset * array.shape[i] + index;
  }
  return numbers(array)[offset];
}
const value = (layer, place, end = "value") => (layer && layer[end] ? at(layer[end], layer.dims, place) : NaN);

// ---- words -------------------------------------------------------------------------------------------------------
function figures(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(digits - 1).replace(/\.?0*e\+?/, "e") : String(Number(x.toPrecision(digits)));
  return text.replace("-", "−");
}
function interval(v, low, high) {
  if (Number.isNaN(v) || v === null) return "–";
  return Number.isFinite(low) && Number.isFinite(high) ? `${figures(v)} [${figures(low)}, ${figures(high)}]` : figures(v);
}
const name_of = (key) => key.replaceAll("_", " ").replace(/\bntk\b/g, "NTK").replace(/\bmse\b/g, "MSE");
const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : text);
function place_words(place, dims = ["depth", "width", "init_scale", "n_train"]) {
  const words = {depth: "depth ", width: "width ", init_scale: "σ_w² = ", n_train: "n = ", epoch: "epoch "};
  return dims.filter((d) => experiment.axes[d] && place[d] !== undefined)
    .map((d) => `${words[d] ?? `${d} `}${experiment.axes[d].values[place[d]]}`).join(", ");
}

// ---- state -------------------------------------------------------------------------------------------------------
let experiment = contents.experiments[0];
const state = {tab: "map", colour: null, frontier: null, at: {}, cell: null, chosen: []};

function defaults() {
  const layers = Object.keys(experiment.layers);
  state.colour = layers.find((k) => experiment.layers[k].kind === "flags") ?? layers[0];
  state.frontier = Object.keys(experiment.frontiers).find((k) => numbers(experiment.frontiers[k].value).some(Number.isFinite)) ?? "";
  state.at = {};
  for (const [dim, axis] of Object.entries(experiment.axes)) state.at[dim] = axis.values.length - 1;
  if (experiment.axes.ridge) state.at.ridge = Math.max(0, experiment.axes.ridge.values.indexOf(experiment.ridge));
  state.cell = null;
  state.chosen = [];
}
const is = (v, text) => (typeof v === "number" ? text !== "" && Number(text) === v : v === text);
function from_hash() {
  const given = new URLSearchParams(location.hash.slice(1));
  experiment = contents.experiments.find((e) => e.name === given.get("experiment")) ?? contents.experiments[0];
  defaults();
  state.tab = ["map", "claims", "experiments", "made"].includes(given.get("tab")) ? given.get("tab") : "map";
  if (experiment.layers[given.get("colour")]) state.colour = given.get("colour");
  if (given.has("frontier") && (given.get("frontier") === "" || experiment.frontiers[given.get("frontier")])) state.frontier = given.get("frontier");
  for (const [dim, axis] of Object.entries(experiment.axes)) {
    const place = given.has(dim) ? axis.values.findIndex((v) => is(v, given.get(dim))) : -1;
    if (place >= 0) state.at[dim] = place;
  }
  const cell = (text) => {
    const parts = (text ?? "").split("_");
    const place = Object.fromEntries(PLACE.map((d, i) => [d, experiment.axes[d]?.values.findIndex((v) => is(v, parts[i])) ?? -1]));
    return PLACE.every((d) => place[d] >= 0) ? place : null;
  };
  state.cell = cell(given.get("cell"));
  state.chosen = (given.get("with") ?? "").split(";").map(cell).filter(Boolean);
}
const cell_text = (place) => PLACE.map((d) => experiment.axes[d].values[place[d]]).join("_");
let written = null;
function to_hash() {
  const given = new URLSearchParams();
  if (state.tab !== "map") given.set("tab", state.tab);
  if (contents.experiments.length > 1) given.set("experiment", experiment.name);
  given.set("colour", state.colour);
  if (Object.keys(experiment.frontiers).length) given.set("frontier", state.frontier);
  for (const dim of slider_axes()) given.set(dim, experiment.axes[dim].values[state.at[dim]]);
  if (state.cell) given.set("cell", cell_text(state.cell));
  if (state.chosen.length) given.set("with", state.chosen.map(cell_text).join(";"));
  written = `#${given}`;
  try { history.replaceState(null, "", written); } catch { /* a page inside a report has no address of its own */ }
}
const same = (a, b) => a && b && PLACE.every((d) => a[d] === b[d]);
const full = (place) => ({...state.at, ...place});
const layer = () => experiment.layers[state.colour];

// ---- axes of the map ---------------------------------------------------------------------------------------------
const size = (dim) => experiment.axes[dim]?.values.length ?? 1;
// Panels side by side, or where they would be too many to see (and to draw at once), one with a slider.
const panels_are_scales = () => size("init_scale") <= MOST_PANELS && size("depth") * size("width") * size("init_scale") <= MOST_DRAWN;
function slider_axes() {
  const shown = new Set(panels_are_scales() ? PLACE : ["depth", "width"]);
  const dims = new Set([...(layer()?.dims ?? []), "n_train", "ridge"]);
  return Object.keys(experiment.axes).filter((d) => dims.has(d) && !shown.has(d) && size(d) > 1);
}

// ---- colours -----------------------------------------------------------------------------------------------------
function extent(one) {
  if (!one.extent) {
    let low = Infinity, high = -Infinity, least = Infinity;
    for (const v of numbers(one.value)) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); if (v > 0) least = Math.min(least, v); }
    const logarithmic = low >= 0 && least < Infinity && high / least > 20;
    one.extent = {low: logarithmic ? least : low, high, logarithmic};
  }
  return one.extent;
}
function shade(one, v) {
  if (!Number.isFinite(v)) return "var(--wash)";
  const {low, high, logarithmic} = extent(one);
  const part = high === low ? 0.5 : logarithmic ? Math.log(Math.max(v, low) / low) / Math.log(high / low) : (v - low) / (high - low);
  return contents.shades[Math.round(part * (contents.shades.length - 1))];
}
const inks = new Map();
function ink_on(colour) {
  if (!inks.has(colour)) inks.set(colour, legible(colour));
  return inks.get(colour);
}
function legible(colour) {
  if (!colour.startsWith("#")) return "var(--ink)";
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255);
  return 0.299 * r + 0.587 * g + 0.114 * b < 0.55 ? "#ffffff" : "#1a1a1a";
}
const flag_at = (one, place) => experiment.flags[state.colour].find((f) => f.value === value(one, place));
function face(place, texts = true) {
  const one = layer();
  if (one.kind === "flags") {
    const flag = flag_at(one, place);
    if (!flag) return {colour: "var(--wash)", text: "", hatched: false};
    return {colour: flag.color === "#ffffff" ? "var(--paper)" : flag.color, text: flag.letters, hatched: flag.hatched};
  }
  const v = value(one, place);
  return {colour: shade(one, v), text: !texts || Number.isNaN(v) ? "" : figures(v, 2), hatched: false};
}
function words_of(place) {
  const one = layer();
  if (one.kind === "flags") return flag_at(one, place)?.words ?? "no networks";
  return interval(value(one, place), value(one, place, "low"), value(one, place, "high"));
}

// ---- the map -----------------------------------------------------------------------------------------------------
let cells = [], panels = [], many = false;
function build_map() {
  const host = $("map-panels");
  host.replaceChildren();
  cells = [];
  panels = [];
  const columns = size("width"), rows = size("depth");
  const beside = Math.min(2, panels_are_scales() ? size("init_scale") : 1), room = (host.clientWidth || 620) / beside - 22;
  const fit = Math.floor((room - 60) / columns), cw = Math.max(16, Math.min(92, fit >= 34 ? fit : Math.floor(((host.clientWidth || 620) - 60) / columns))), ch = Math.max(14, Math.min(58, Math.round(cw * 0.64)));
  const scales = panels_are_scales() ? [...Array(size("init_scale")).keys()] : [null];
  const left = 46, top = 26, bottom = 38, right = 14;
  const every = Math.ceil(34 / cw);
  for (const scale of scales) {
    const width = Math.max(left + columns * cw + right, 190), height = top + rows * ch + bottom;
    const svg = element("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "grid", "aria-label": panel_title(scale), class: "panel"});
    const title = element("text", {x: left, y: 15, "font-size": 13, "font-weight": 600}, panel_title(scale));
    svg.append(title);
    experiment.axes.width.values.forEach((v, j) => {
      if (j % every === 0 || j === columns - 1) svg.append(element("text", {x: left + (j + 0.5) * cw, y: top + rows * ch + 15, "text-anchor": "middle", "font-size": 11}, String(v)));
    });
    experiment.axes.depth.values.forEach((v, i) => svg.append(element("text", {x: left - 8, y: top + (rows - 1 - i + 0.5) * ch + 4, "text-anchor": "end", "font-size": 11}, String(v))));
    svg.append(element("text", {x: left + columns * cw / 2, y: height - 6, "text-anchor": "middle", "font-size": 11, class: "axis"}, "width"));
    svg.append(element("text", {transform: `translate(11 ${top + rows * ch / 2}) rotate(-90)`, "text-anchor": "middle", "font-size": 11, class: "axis"}, "depth"));
    const panel = {scale, svg, title, left, top, cw, ch, rows, columns, number: panels.length};
    for (let i = rows - 1; i >= 0; i--) {
      const line = element("g", {role: "row"});
      for (let j = 0; j < columns; j++) {
        const x = left + j * cw, y = top + (rows - 1 - i) * ch;
        const rect = element("rect", {class: "face", x, y, width: cw, height: ch});
        const text = cw < 26 ? null : element("text", {x: x + cw / 2, y: y + ch / 2 + 4, "text-anchor": "middle", "font-size": Math.min(15, cw / 3.4), "font-weight": 600});
        const node = element("g", {class: "cell", role: "gridcell", tabindex: -1}, rect, text);
        const one = {node, rect, hatch: null, ring: null, text, tip: null, panel, depth: i, width: j, drawn: {name: "cell"}};
        node.cell = one;
        line.append(node);
        cells.push(one);
      }
      svg.append(line);
    }
    panel.frontier = element("g", {class: "frontier", "pointer-events": "none"});
    svg.append(panel.frontier);
    panels.push(panel);
    host.append(svg);
  }
  many = cells.length > 600;
  if (cells.length) (cells.find((c) => same(place_of(c), state.cell)) ?? cells[0]).node.setAttribute("tabindex", 0);
}
function panel_title(scale) {
  const place = scale ?? state.at.init_scale ?? 0;
  const phase = experiment.phase[place];
  return `σ_w² = ${experiment.axes.init_scale?.values[place] ?? "?"}${phase && phase !== "unknown" ? ` (${phase})` : ""}`;
}
const place_of = (one) => ({depth: one.depth, width: one.width, init_scale: one.panel.scale ?? state.at.init_scale ?? 0});

function update_map() {
  const needed = [layer(), ...Object.values(experiment.frontiers)].flatMap((one) => ["value", "low", "high", "status"].map((end) => one[end])).filter((array) => array?.shape);
  if (!needed.every(here)) { loaded.then(update_map); return; }
  for (const panel of panels) panel.title.textContent = panel_title(panel.scale);
  for (const one of cells) {
    const place = full(place_of(one)), {colour, text, hatched} = face(place, one.text), drawn = one.drawn;
    if (drawn.colour !== colour) { one.rect.setAttribute("fill", colour); if (one.text) one.text.style.fill = ink_on(colour); drawn.colour = colour; }
    if (one.text && drawn.text !== text) { one.text.textContent = text; drawn.text = text; }
    if (drawn.hatched !== hatched) { hatch(one, hatched); drawn.hatched = hatched; }
    if (!many) say(one, place);
    mark(one);
  }
  for (const panel of panels) draw_frontier(panel);
  draw_legend();
}
// What a cell is called: of many, only the one that is pointed at or walked to.
function say(one, place = full(place_of(one))) {
  const said = `${place_words(place)}: ${words_of(place)}`;
  if (one.drawn.said === said) return;
  one.node.setAttribute("aria-label", said);
  if (!one.tip) one.node.append(one.tip = element("title"));
  one.tip.textContent = said;
  one.drawn.said = said;
}
for (const event of ["focusin", "pointerover"]) $("map-panels").addEventListener(event, ({target}) => { const one = target.closest?.(".cell")?.cell; if (one) say(one); });
function inside(one, margin, more) {
  const at_ = (name, by) => Number(one.rect.getAttribute(name)) + by;
  return element("rect", {x: at_("x", margin), y: at_("y", margin), width: at_("width", -2 * margin), height: at_("height", -2 * margin), ...more});
}
function hatch(one, shown) {
  one.hatch?.remove();
  one.hatch = shown ? inside(one, 1, {fill: "url(#hatch)", "pointer-events": "none"}) : null;
  if (shown) one.rect.after(one.hatch);
}
function ring(one) { if (!one.ring) one.rect.after(one.ring = inside(one, 2, {class: "ring"})); }
function mark(one) {
  const place = place_of(one), name = `cell${same(place, state.cell) ? " open" : ""}${state.chosen.some((c) => same(c, place)) ? " chosen" : ""}`;
  if (one.drawn.name === name) return;
  one.node.setAttribute("class", name);
  one.drawn.name = name;
  ring(one);
}
// Place of a width among the widths of the grid, between which places are logarithmic.
function column_of(width) {
  const grid = experiment.axes.width.values.map(Math.log), x = Math.log(Math.max(width, 1e-9));
  if (grid.length < 2) return NaN;
  let k = grid.findIndex((g) => g > x);
  k = k < 0 ? grid.length - 2 : Math.max(0, k - 1);
  return k + (x - grid[k]) / (grid[k + 1] - grid[k]);
}
function draw_frontier(panel) {
  panel.frontier.replaceChildren();
  const one = experiment.frontiers[state.frontier];
  if (!one || panel.columns < 2) return;
  const scale = panel.scale ?? state.at.init_scale ?? 0, points = [];
  const clip = (c) => Math.max(-0.5, Math.min(panel.columns - 0.5, c));
  const x_of = (c) => panel.left + (clip(c) + 0.5) * panel.cw;
  for (let i = 0; i < panel.rows; i++) {
    const place = {...state.at, depth: i, init_scale: scale};
    const [v, low, high] = ["value", "low", "high"].map((end) => at(one[end], one.dims, place));
    if (!Number.isFinite(v)) continue;
    const y = panel.top + (panel.rows - 1 - i) * panel.ch + panel.ch * 0.84;
    const [c, a, b] = [column_of(v), Number.isFinite(low) ? column_of(low) : -9, Number.isFinite(high) ? column_of(high) : 99];
    const words = `${one.label}: ${interval(v, low, high)}`;
    const mark_ = element("g", {class: "front"}, element("title", {}, words));
    for (const [stroke, width] of [["var(--paper)", 5], ["var(--ink)", 2]]) mark_.append(element("line", {x1: x_of(a), x2: x_of(b), y1: y, y2: y, stroke, "stroke-width": width}));
    const outside = c < -0.5 || c > panel.columns - 0.5, x = x_of(c), r = 5;
    const shape = !outside ? `${x - r},${y} ${x},${y - r} ${x + r},${y} ${x},${y + r}` : c > 0 ? `${x - r},${y - r} ${x + r - 1},${y} ${x - r},${y + r}` : `${x + r},${y - r} ${x - r + 1},${y} ${x + r},${y + r}`;
    const status = one.statuses[String(at(one.status, one.dims, place))];
    mark_.append(element("polygon", {points: shape, fill: status === "found" ? "var(--ink)" : "var(--paper)", stroke: status === "found" ? "var(--paper)" : "var(--ink)", "stroke-width": 1.4}));
    mark_.dataset.value = v;
    points.push(mark_);
  }
  panel.frontier.append(...points);
}
function draw_legend() {
  const host = $("legend"), one = layer(), items = [];
  const swatch = (colour, hatched, text) => element("svg", {width: 38, height: 18, "aria-hidden": "true"},
    element("rect", {x: 0.5, y: 0.5, width: 37, height: 17, fill: colour, stroke: "var(--line)"}),
    ...(hatched ? [element("rect", {x: 1, y: 1, width: 36, height: 16, fill: "url(#hatch)"})] : []),
    (() => { const t = element("text", {x: 19, y: 13, "text-anchor": "middle", "font-size": 10, "font-weight": 600}, text); t.style.fill = ink_on(colour); return t; })());
  if (one.kind === "flags") {
    const counts = new Map();
    for (const c of cells) { const v = value(one, full(place_of(c))); counts.set(v, (counts.get(v) ?? 0) + 1); }
    for (const flag of experiment.flags[state.colour]) {
      if (!counts.get(flag.value)) continue;
      items.push(element("span", {"data-flag": flag.value}, swatch(flag.color === "#ffffff" ? "var(--paper)" : flag.color, flag.hatched, flag.letters), `${flag.words} (${counts.get(flag.value)})`));
    }
  } else {
    const {low, high, logarithmic} = extent(one), n = contents.shades.length;
    const bar = element("svg", {width: 160, height: 14, "aria-hidden": "true"}, ...contents.shades.map((c, i) => element("rect", {x: i * 160 / n, y: 0, width: 160 / n + 0.5, height: 14, fill: c})));
    items.push(element("span", {}, figures(low), bar, `${figures(high)}${one.units && one.units !== "1" ? ` ${one.units}` : ""}${logarithmic ? ", log scale" : ""}`));
  }
  const front = experiment.frontiers[state.frontier];
  if (front && panels.some((p) => p.frontier.childElementCount)) {
    items.push(element("span", {}, element("svg", {width: 34, height: 14, "aria-hidden": "true"}, element("line", {x1: 0, x2: 34, y1: 7, y2: 7, stroke: "var(--ink)", "stroke-width": 2}), element("polygon", {points: "12,7 17,2 22,7 17,12", fill: "var(--ink)"})), `${front.label}, with its interval (hollow: outside the grid)`));
  }
  host.replaceChildren(...items);
}
function build_controls() {
  const host = $("controls"), groups = new Map();
  for (const [key, one] of Object.entries(experiment.layers)) {
    if (one.group === "spectrum") continue;
    if (!groups.has(one.group)) groups.set(one.group, element("optgroup", {label: one.group}));
    groups.get(one.group).append(element("option", {value: key, title: one.label}, one.group === "errors" ? sentence(one.label) : sentence(name_of(key))));
  }
  const colour = element("select", {id: "colour"}, ...groups.values());
  colour.value = state.colour;
  colour.addEventListener("change", () => { state.colour = colour.value; build_controls(); refresh(); $("colour").focus(); });
  const parts = [element("label", {}, "Colour", colour)];
  if (Object.keys(experiment.frontiers).length) {
    const front = element("select", {id: "frontier"}, ...Object.keys(experiment.frontiers).map((k) => element("option", {value: k}, name_of(k.replace("frontier_", "")))), element("option", {value: ""}, "none"));
    front.value = state.frontier;
    front.addEventListener("change", () => { state.frontier = front.value; refresh(); });
    parts.push(element("label", {}, "Frontier of", front));
  }
  for (const dim of slider_axes()) {
    const axis = experiment.axes[dim];
    if (axis.values.some((v) => typeof v === "string")) {
      const select = element("select", {id: `axis-${dim}`}, ...axis.values.map((v, i) => element("option", {value: i}, v)));
      select.value = state.at[dim];
      select.addEventListener("change", () => { state.at[dim] = Number(select.value); moved(); });
      parts.push(element("label", {}, sentence(axis.label), select));
      continue;
    }
    const shown = element("output", {}, String(axis.values[state.at[dim]]));
    const slider = element("input", {type: "range", id: `axis-${dim}`, min: 0, max: axis.values.length - 1, step: 1, value: state.at[dim], "aria-valuetext": axis.values[state.at[dim]]});
    slider.addEventListener("input", () => {
      state.at[dim] = Number(slider.value);
      shown.textContent = axis.values[state.at[dim]];
      slider.setAttribute("aria-valuetext", axis.values[state.at[dim]]);
      moved();
    });
    parts.push(element("label", {}, element("span", {}, sentence(axis.label), shown), slider));
  }
  host.replaceChildren(...parts);
}
let waiting = null;
function moved() {
  document.querySelectorAll(".charts").forEach((charts) => delete charts.dataset.drawn); // of the view before
  update_map();
  to_hash();
  clearTimeout(waiting);
  waiting = setTimeout(() => { draw_card(); draw_compare(); }, 90);
}

// ---- selection ---------------------------------------------------------------------------------------------------
function open_cell(place) { state.cell = place; cells.forEach(mark); to_hash(); return draw_card(); }
function toggle(place) {
  state.chosen = state.chosen.some((c) => same(c, place)) ? state.chosen.filter((c) => !same(c, place)) : [...state.chosen, place];
  cells.forEach(mark);
  to_hash();
  draw_compare();
}
let brush = null;
$("map-panels").addEventListener("pointerdown", (event) => {
  const one = event.target.closest?.(".cell")?.cell;
  if (one && event.button === 0) brush = {from: one, to: one};
});
$("map-panels").addEventListener("pointermove", (event) => {
  if (!brush || event.pointerType === "touch") return;
  const one = event.target.closest?.(".cell")?.cell;
  if (!one || one.panel !== brush.from.panel || one === brush.to) return;
  brush.to = one;
  const within = new Set(brushed(brush));
  for (const c of cells) if (c.panel === brush.from.panel) { if (within.has(c)) ring(c); c.node.classList.toggle("chosen", within.has(c)); c.drawn.name = null; }
});
addEventListener("pointerup", (event) => {
  if (!brush) return;
  const {from, to} = brush, made = brush;
  brush = null;
  if (from === to) return;
  for (const c of brushed(made)) if (!state.chosen.some((s) => same(s, place_of(c)))) state.chosen.push(place_of(c));
  made.done = true;
  swallow = true;
  setTimeout(() => { swallow = false; });
  cells.forEach((c) => { c.drawn.name = null; mark(c); });
  to_hash();
  draw_compare();
});
let swallow = false;
const brushed = ({from, to}) => cells.filter((c) => c.panel === from.panel && (c.depth - from.depth) * (c.depth - to.depth) <= 0 && (c.width - from.width) * (c.width - to.width) <= 0);
$("map-panels").addEventListener("click", (event) => {
  const one = event.target.closest?.(".cell")?.cell;
  if (!one || swallow) return;
  focus_cell(one);
  if (event.shiftKey || event.ctrlKey || event.metaKey) toggle(place_of(one));
  else open_cell(place_of(one));
});
function focus_cell(one) {
  for (const c of cells) if (c.node.getAttribute("tabindex") === "0") c.node.setAttribute("tabindex", -1);
  one.node.setAttribute("tabindex", 0);
  one.node.focus({preventScroll: true});
}
$("map-panels").addEventListener("keydown", (event) => {
  const one = document.activeElement?.cell;
  if (!one) return;
  const step = {ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
  if (step) {
    event.preventDefault();
    let panel = one.panel.number, width = one.width + step[0];
    const depth = Math.max(0, Math.min(one.panel.rows - 1, one.depth + step[1]));
    if (width >= one.panel.columns && panel + 1 < panels.length) { panel++; width = 0; }
    if (width < 0 && panel > 0) { panel--; width = one.panel.columns - 1; }
    const next = cells.find((c) => c.panel.number === panel && c.depth === depth && c.width === width);
    if (next) { focus_cell(next); next.node.scrollIntoView({block: "nearest"}); }
  } else if (event.key === "Enter") { event.preventDefault(); open_cell(place_of(one)); }
  else if (event.key === " ") { event.preventDefault(); toggle(place_of(one)); }
  else if (event.key === "Escape") { state.cell = null; state.chosen = []; refresh(); }
});

// ---- number lines ------------------------------------------------------------------------------------------------
function number_line({v, low, high, inner, lower, upper, outside, verdict, width = 150, height = 26, ticks = false}) {
  const known = [v, lower, upper].filter(Number.isFinite), ends = [low, high].filter(Number.isFinite);
  let from = Math.min(...known, ticks ? 0 : Infinity), to = Math.max(...known, ticks ? 0 : -Infinity);
  const reach = Math.max(to - from, Math.abs(to) * 0.5, 1e-12) * 2;
  for (const end of ends) { from = Math.min(from, Math.max(end, from - reach)); to = Math.max(to, Math.min(end, to + reach)); }
  const margin = 0.08 * (to - from || Math.abs(to) || 1);
  from -= margin; to += margin;
  const x = (t) => 4 + (Math.max(from, Math.min(to, t)) - from) / (to - from) * (width - 8), y = ticks ? height / 2 - 6 : height / 2;
  const svg = element("svg", {class: "line", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": interval(v, low, high)});
  const a = Number.isFinite(lower) ? lower : from, b = Number.isFinite(upper) ? upper : to, bounds = [lower, upper].filter(Number.isFinite);
  const pieces = !bounds.length ? [] : outside ? [[from, a], [b, to]] : [[a, b]];
  for (const [l, r] of pieces) svg.append(element("rect", {x: x(l), y: y - 9, width: Math.max(0, x(r) - x(l)), height: 18, fill: "var(--band)", class: "region"}));
  for (const bound of bounds) svg.append(element("line", {x1: x(bound), x2: x(bound), y1: y - 11, y2: y + 11, stroke: "var(--faint)", "stroke-width": 1.4, class: "threshold"}));
  svg.append(element("line", {x1: 4, x2: width - 4, y1: y, y2: y, stroke: "var(--line)"}));
  if (Number.isFinite(low) || Number.isFinite(high)) {
    const l = Number.isFinite(low) ? low : from, h = Number.isFinite(high) ? high : to;
    svg.append(element("line", {x1: x(l), x2: x(h), y1: y, y2: y, stroke: "var(--ink)", "stroke-width": 2, class: "interval"}));
    for (const [end, sign] of [[l, -1], [h, 1]]) {
      const cut = end < from || end > to;
      svg.append(cut ? element("path", {d: `M${x(end) - 5 * sign} ${y - 4} L${x(end)} ${y} L${x(end) - 5 * sign} ${y + 4}`, fill: "none", stroke: "var(--ink)"}) : element("line", {x1: x(end), x2: x(end), y1: y - 4, y2: y + 4, stroke: "var(--ink)"}));
    }
  }
  if (inner?.every(Number.isFinite)) svg.append(element("line", {x1: x(inner[0]), x2: x(inner[1]), y1: y, y2: y, stroke: "var(--ink)", "stroke-width": 5}));
  if (verdict === "not supported") svg.append(element("path", {d: `M${x(v) - 5} ${y - 5} l10 10 M${x(v) + 5} ${y - 5} l-10 10`, stroke: "var(--ink)", "stroke-width": 2.4}));
  else svg.append(element("circle", {cx: x(v), cy: y, r: 4.6, fill: verdict === "inconclusive" ? "var(--paper)" : "var(--accent)", stroke: verdict === "inconclusive" ? "var(--ink)" : "var(--accent)", "stroke-width": 1.6}));
  if (ticks) for (const t of round_ticks(from, to, 5)) svg.append(element("text", {x: x(t), y: height - 4, "text-anchor": "middle", "font-size": 10, fill: "var(--quiet)", class: "tick"}, figures(t)));
  return svg;
}
function round_ticks(from, to, most) {
  const raw = (to - from) / most, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find((s) => s * power >= raw) * power, found = [];
  for (let t = Math.ceil(from / step) * step; t <= to + 1e-12; t += step) found.push(Math.abs(t) < step * 1e-9 ? 0 : Number(t.toPrecision(12)));
  return found;
}

// ---- curves (Bokeh) ----------------------------------------------------------------------------------------------
let library = null;
function load_library() {
  library ??= new Promise((done) => {
    for (const source of document.querySelectorAll("script.library")) {
      const script = document.createElement("script");
      script.textContent = source.textContent;
      source.remove();
      document.head.append(script);
    }
    done(window.Bokeh);
  });
  return library;
}
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const MARKERS = {o: "circle", s: "square", "^": "triangle", v: "inverted_triangle", D: "diamond", d: "diamond", P: "plus", X: "x", p: "hex", h: "hex", H: "hex", "*": "star", 8: "circle", ">": "triangle", "<": "inverted_triangle", 1: "y", 2: "x", x: "x"};
const colour_of = (look) => (look.color === "ink" ? css("--ink") : look.color);
function log_ticks(from, to) {
  const found = [];
  for (let p = Math.floor(from) - 1; p <= Math.ceil(to); p++) for (const m of to - from > 3 ? [1] : to - from > 1.2 ? [1, 3] : [1, 1.5, 2, 3, 5, 7]) {
    const t = p + Math.log10(m);
    if (t >= from - 1e-9 && t <= to + 1e-9) found.push(t);
  }
  return found.length > 7 ? found.filter((_, i) => i % Math.ceil(found.length / 6) === 0) : found;
}
// One chart: lines with whiskers or bands, each axis linear or logarithmic. Drawn once, then only its data change.
async function chart(host, spec) {
  const Bokeh = await load_library();
  const first = Math.min(...spec.series.flatMap((s) => s.x).filter((x) => x > 0));
  const fx = (x) => (!spec.log_x ? x : x > 0 ? Math.log10(x) : Math.log10(first) - 0.35);
  const fy = (y) => (spec.log_y ? (y > 0 ? Math.log10(y) : NaN) : y);
  const series = spec.series.map((s) => ({...s, points: s.x.map((x, i) => ({x, y: s.y[i], low: s.low?.[i] ?? NaN, high: s.high?.[i] ?? NaN})).filter((p) => Number.isFinite(fy(p.y)))}));
  const xs = series.flatMap((s) => s.points.map((p) => fx(p.x))), ys = series.flatMap((s) => s.points.map((p) => fy(p.y)));
  if (!ys.length) { host.replaceChildren(element("p", {}, spec.empty ?? "no finite value")); host.made = null; return; }
  const spread = Math.max(Math.max(...ys) - Math.min(...ys), spec.log_y ? 0.12 : Math.abs(Math.max(...ys)) * 0.1 || 1e-9);
  const near = spec.log_y ? Math.log10(4) : spread * 0.5;
  const wide = series.flatMap((s) => s.points.flatMap((p) => [fy(p.low), fy(p.high)])).filter(Number.isFinite);
  const y0 = Math.max(Math.min(...ys, ...wide), Math.min(...ys) - near) - spread * 0.07, y1 = Math.min(Math.max(...ys, ...wide), Math.max(...ys) + near) + spread * 0.07;
  const dx = Math.max(...xs) - Math.min(...xs) || 1, x0 = Math.min(...xs) - dx * 0.05, x1 = Math.max(...xs) + dx * 0.05;
  const columns = {
    lines: {xs: series.map((s) => s.points.map((p) => fx(p.x))), ys: series.map((s) => s.points.map((p) => fy(p.y))), color: series.map(colour_of), dash: series.map((s) => s.dash ?? []), width: series.map((s) => (s.heavy ? 2.4 : 1.5))},
    laws: {xs: series.map((s) => (s.law ? s.law.x.map(fx) : [])), ys: series.map((s) => (s.law ? s.law.y.map(fy) : [])), color: series.map(colour_of), dash: series.map((s) => s.dash ?? []), width: series.map((s) => (s.heavy ? 2.4 : 1.5))},
    bands: (() => {
      const found = {xs: [], ys: [], color: []};
      if (spec.bands) for (const s of series) {
        const there = s.points.filter((p) => Number.isFinite(fy(p.low)) && Number.isFinite(fy(p.high)));
        if (there.length < 2) continue;
        found.xs.push([...there.map((p) => fx(p.x)), ...there.map((p) => fx(p.x)).reverse()]);
        found.ys.push([...there.map((p) => fy(p.low)), ...there.map((p) => fy(p.high)).reverse()].map((y) => Math.max(y0, Math.min(y1, y))));
        found.color.push(colour_of(s));
      }
      return found;
    })(),
    whiskers: (() => {
      const found = {x: [], y0: [], y1: [], color: []};
      if (!spec.bands) for (const s of series) for (const p of s.points) if (Number.isFinite(fy(p.low)) && Number.isFinite(fy(p.high))) {
        found.x.push(fx(p.x)); found.y0.push(fy(p.low)); found.y1.push(fy(p.high)); found.color.push(colour_of(s));
      }
      return found;
    })(),
    points: (() => {
      const found = {x: [], y: [], color: [], marker: [], text: []};
      for (const s of series) for (const p of s.points) {
        found.x.push(fx(p.x)); found.y.push(fy(p.y)); found.color.push(colour_of(s)); found.marker.push(MARKERS[s.marker] ?? "circle");
        found.text.push(`${s.label}, ${spec.x_name} ${figures(p.x, 6)}: ${interval(p.y, p.low, p.high)}`);
      }
      return found;
    })(),
  };
  const x_values = [...new Set(series.flatMap((s) => s.points.map((p) => p.x)))].sort((a, b) => a - b);
  let x_ticks = x_values.map((x) => [fx(x), figures(x, 6)]);
  const gap = (x1 - x0) / 6;
  x_ticks = x_ticks.reduceRight((kept, t) => (kept.length && kept[0][0] - t[0] < gap ? kept : [t, ...kept]), []);
  const y_ticks = (spec.log_y ? log_ticks(y0, y1) : round_ticks(y0, y1, 5)).map((t) => [t, figures(spec.log_y ? 10 ** t : t)]);
  const key = JSON.stringify([dark.matches, spec.x_label, spec.y_label]);
  if (host.made?.key !== key) {
    host.replaceChildren();
    const plot = Bokeh.Plotting.figure({height: 225, sizing_mode: "stretch_width", tools: "", toolbar_location: null, output_backend: "svg", x_axis_label: spec.x_label, y_axis_label: spec.y_label, min_border: 4, x_range: new Bokeh.Range1d({start: x0, end: x1}), y_range: new Bokeh.Range1d({start: y0, end: y1})});
    Object.assign(plot, {background_fill_alpha: 0, border_fill_alpha: 0, outline_line_color: null});
    const sources = {};
    for (const name of Object.keys(columns)) sources[name] = new Bokeh.ColumnDataSource({data: columns[name]});
    const f = (field) => ({field});
    plot.patches(f("xs"), f("ys"), {source: sources.bands, fill_color: f("color"), fill_alpha: 0.14, line_alpha: 0});
    plot.segment(f("x"), f("y0"), f("x"), f("y1"), {source: sources.whiskers, line_color: f("color"), line_width: 1.2, line_alpha: 0.7});
    plot.multi_line(f("xs"), f("ys"), {source: sources[spec.laws ? "laws" : "lines"], line_color: f("color"), line_width: f("width"), line_dash: f("dash")});
    const points = plot.scatter(f("x"), f("y"), {source: sources.points, marker: f("marker"), size: 6, fill_color: f("color"), line_color: f("color")});
    plot.add_tools(new Bokeh.HoverTool({renderers: [points], tooltips: "@text"}));
    const axes = {x: plot.xaxes ? plot.xaxes[0] : plot.xaxis, y: plot.yaxes ? plot.yaxes[0] : plot.yaxis};
    const font = getComputedStyle(document.body).fontFamily;
    for (const axis of [plot.xaxis, plot.yaxis]) Object.assign(axis, {axis_line_color: css("--line"), major_tick_line_color: css("--line"), minor_tick_line_color: null, major_label_text_color: css("--quiet"), axis_label_text_color: css("--quiet"), axis_label_text_font_style: "normal", major_label_text_font: font, axis_label_text_font: font, axis_label_text_font_size: "12px", major_label_text_font_size: "11px"});
    for (const grid of [plot.xgrid, plot.ygrid]) Object.assign(grid, {grid_line_color: css("--grid")});
    const tickers = {x: new Bokeh.FixedTicker({ticks: x_ticks.map((t) => t[0])}), y: new Bokeh.FixedTicker({ticks: y_ticks.map((t) => t[0])})};
    plot.xaxis.ticker = tickers.x; plot.yaxis.ticker = tickers.y; plot.xgrid.ticker = tickers.x; plot.ygrid.ticker = tickers.y;
    plot.xaxis.major_label_overrides = new Map(x_ticks); plot.yaxis.major_label_overrides = new Map(y_ticks);
    host.made = {key, plot, sources, tickers};
    host.made.view = await Bokeh.Plotting.show(plot, host);
    return;
  }
  const {plot, sources, tickers} = host.made;
  for (const name of Object.keys(columns)) sources[name].data = columns[name];
  Object.assign(plot.x_range, {start: x0, end: x1});
  Object.assign(plot.y_range, {start: y0, end: y1});
  tickers.x.ticks = x_ticks.map((t) => t[0]);
  tickers.y.ticks = y_ticks.map((t) => t[0]);
  plot.xaxis.major_label_overrides = new Map(x_ticks);
  plot.yaxis.major_label_overrides = new Map(y_ticks);
}
function keys(series) {
  return element("p", {class: "keys"}, ...series.map((s) => element("span", {}, element("svg", {width: 26, height: 10, "aria-hidden": "true"}, element("line", {x1: 0, x2: 26, y1: 5, y2: 5, stroke: s.color === "ink" ? "var(--ink)" : s.color, "stroke-width": s.heavy ? 2.6 : 1.8, "stroke-dasharray": (s.dash ?? []).join(" ") || null})), s.label)));
}
// A curve of a layer along one axis, at the place of a cell.
function along(one, dim, place, look) {
  const axis = experiment.axes[dim], places = [...axis.values.keys()];
  const read = (end) => (one[end] ? places.map((k) => value(one, {...place, [dim]: k}, end)) : undefined);
  return {...look, x: axis.values, y: read("value"), low: read("low"), high: read("high")};
}
function law_of(predictor, place) {
  const laws = experiment.laws, k = laws.predictors?.indexOf(predictor) ?? -1;
  if (k < 0) return null;
  const dims = ["predictor", ...laws.dims], where = {...place, predictor: k};
  const y = experiment.axes.n_train.values.map((_, i) => at(laws.line, [...dims, "n_train"], {...where, n_train: i}));
  const there = y.map((v, i) => [experiment.axes.n_train.values[i], v]).filter(([, v]) => Number.isFinite(v));
  return {line: {x: there.map((p) => p[0]), y: there.map((p) => p[1])}, exponent: ["exponent", "exponent_low", "exponent_high"].map((e) => at(laws[e], dims, where))};
}
function charts_of(place) {
  const found = [], metrics = [...new Set(Object.values(experiment.layers).map((one) => one.metric).filter(Boolean))];
  for (const metric of metrics) {
    if (size("n_train") < 2) break;
    const fitted = experiment.laws.metric === metric && experiment.axes.ridge?.values[place.ridge] === experiment.laws.ridge;
    const series = experiment.predictors.filter((p) => experiment.layers[`${metric}_${p.name}`]).map((p) => ({...along(experiment.layers[`${metric}_${p.name}`], "n_train", place, p), heavy: p.name === "network", law: fitted ? law_of(p.name, place)?.line : null}));
    const laws = series.some((s) => s.law?.x.length > 1);
    found.push({id: metric, title: metric === "test_mse" ? "Learning curve, mean square" : "Learning curve, wrong classes", series, laws, x_label: "training samples n", x_name: "n", y_label: metric === "test_mse" ? "test MSE" : "test error", log_x: true, log_y: true, note: laws ? "lines: fitted power laws" : "lines join the means"});
  }
  for (const one of Object.entries(experiment.layers).filter(([, l]) => l.dims.includes("epoch") && l.group === "training" && l.units !== "1")) {
    let errors = found.find((c) => c.id === "training");
    if (!errors) found.push(errors = {id: "training", title: "Error along training", series: [], bands: true, x_label: "epoch", x_name: "epoch", y_label: "mean square", log_x: true, log_y: true});
    const looks = [{color: "ink", marker: "o"}, {color: contents.shades[20], marker: "s", dash: [6, 3]}, {color: "#d9730d", marker: "^", dash: [2, 2]}];
    errors.series.push(along(one[1], "epoch", place, {...looks[errors.series.length % 3], label: name_of(one[0])}));
  }
  for (const [key, one] of Object.entries(experiment.layers)) {
    if (one.group !== "kernel along training" || !["kernel_drift", "kernel_alignment"].includes(key)) continue;
    found.push({id: key, title: sentence(name_of(key)), series: [along(one, "epoch", place, {color: "ink", marker: "o", label: name_of(key)})], bands: true, x_label: "epoch", x_name: "epoch", y_label: name_of(key.replace("kernel_", "")), log_x: true, log_y: one.logarithmic});
  }
  const spectrum = experiment.layers.kernel_spectrum;
  if (spectrum) {
    const axis = experiment.axes.mode;
    const series = experiment.axes.checkpoint.values.map((epoch, k, all) => ({x: axis.values.map((m) => m + 1), y: axis.values.map((_, m) => value(spectrum, {...place, checkpoint: k, mode: m})), color: contents.shades[Math.round((k + 1) / (all.length + 1) * (contents.shades.length - 1))], marker: "os^D"[k % 4], label: `epoch ${epoch}`}));
    found.push({id: "spectrum", title: "Spectrum of the kernel", series, x_label: "mode", x_name: "mode", y_label: "eigenvalue", log_x: true, log_y: true, legend: true});
  }
  return found;
}
async function draw_charts(host, specs) {
  const there = new Map([...host.querySelectorAll(".chart")].map((c) => [c.dataset.chart, c]));
  for (const [id, node] of there) if (!specs.some((s) => s.id === id)) node.remove();
  for (const spec of specs) {
    let node = there.get(spec.id);
    if (!node) host.append(node = element("figure", {class: "chart", "data-chart": spec.id}, element("h3", {}, spec.title), element("div", {class: "plot"}), element("p", {class: "note"}), element("div", {class: "keys-of"})));
    node.querySelector(".note").textContent = spec.note ?? "";
    node.querySelector(".keys-of").replaceChildren(...(spec.legend || (spec.series.length > 1 && spec.id === "training") ? [keys(spec.series)] : []));
    node.spec = spec;
  }
  host.dataset.drawn = "no";
  const run = (host.run = (host.run ?? 0) + 1);
  for (const spec of specs) {
    if (host.run !== run || !host.isConnected) return;
    await chart(host.querySelector(`[data-chart="${spec.id}"] .plot`), spec);
    await new Promise((done) => setTimeout(done));
  }
  host.dataset.drawn = "yes";
}

// ---- the card ----------------------------------------------------------------------------------------------------
function bound_of(key) {
  for (const [name, threshold] of Object.entries(experiment.thresholds)) if (threshold.about.includes(key)) return {name, ...threshold};
  return null;
}
function against(bound, v, low, high) {
  if (!bound || Number.isNaN(v)) return "";
  const [lower, upper] = bound.bounds.length > 1 ? bound.bounds : [-Infinity, bound.bounds[0]];
  const l = Number.isFinite(low) ? low : Number.isFinite(high) ? -Infinity : v, h = Number.isFinite(high) ? high : Number.isFinite(low) ? Infinity : v;
  if (h < lower) return `below ${figures(lower)}`;
  if (l > upper) return `above ${figures(upper)}`;
  if (l > lower && h < upper) return bound.bounds.length > 1 ? `within ${figures(lower)} … ${figures(upper)}` : `below ${figures(upper)}`;
  return `open: covers ${figures(l <= upper && h >= upper ? upper : lower)}`;
}
function why_table(place) {
  const rows = [], of_map = Object.entries(experiment.layers).filter(([, one]) => one.group === "regimes" && one.kind !== "flags");
  for (const [key, one] of [...of_map.filter(([, o]) => o.low), ...of_map.filter(([, o]) => !o.low)]) {
    const [v, low, high] = ["value", "low", "high"].map((end) => value(one, place, end));
    if (Number.isNaN(v)) continue;
    const bound = bound_of(key);
    const [lower, upper] = !bound ? [NaN, NaN] : bound.bounds.length > 1 ? bound.bounds : [NaN, bound.bounds[0]];
    rows.push(element("tr", {title: one.label},
      element("th", {scope: "row"}, sentence(name_of(key))),
      element("td", {class: "drawn"}, number_line({v, low, high, lower, upper})),
      element("td", {class: "number", "data-layer": key}, interval(v, low, high)),
      element("td", {class: "verdict"}, against(bound, v, low, high))));
  }
  return rows.length ? element("table", {class: "why"}, element("tbody", {}, ...rows)) : null;
}
function error_table(place) {
  const rows = [];
  for (const p of experiment.predictors) {
    const one = experiment.layers[`test_mse_${p.name}`] ?? experiment.layers[`test_error_${p.name}`];
    if (!one) continue;
    const key = `${one.metric}_${p.name}`, law = law_of(p.name, place);
    rows.push(element("tr", {}, element("th", {scope: "row"}, keys([{...p, heavy: p.name === "network"}])),
      element("td", {class: "number", "data-layer": key}, interval(...["value", "low", "high"].map((end) => value(one, place, end)))),
      ...(experiment.laws.predictors ? [element("td", {class: "number", "data-exponent": p.name}, law ? interval(...law.exponent) : "–")] : [])));
  }
  const head = element("tr", {}, element("th", {}, ""), element("th", {}, `test error at n = ${experiment.axes.n_train.values[place.n_train]}`), ...(experiment.laws.predictors ? [element("th", {}, "exponent")] : []));
  return element("div", {class: "table"}, element("table", {class: "plain errors"}, element("thead", {}, head), element("tbody", {}, ...rows)));
}
function other_numbers(place) {
  const rows = Object.entries(experiment.layers).filter(([, one]) => one.group === "one number a network").map(([key, one]) => element("tr", {title: one.label}, element("th", {scope: "row"}, sentence(name_of(key))), element("td", {class: "number", "data-layer": key}, interval(...["value", "low", "high"].map((end) => value(one, place, end)))), element("td", {}, one.units === "1" ? "" : one.units)));
  return rows.length ? element("details", {}, element("summary", {}, "Other numbers, means over networks"), element("div", {class: "table"}, element("table", {class: "plain"}, element("tbody", {}, ...rows)))) : null;
}
function counts_of(place) {
  const lines = [], fine = [];
  for (const [key, count] of Object.entries(experiment.counts)) {
    const parts = count.flags.map((flag, k) => [flag, at(count.value, count.dims, {...place, flag: k})]).filter(([, n]) => n > 0);
    if (key !== "status" && parts.length === 1 && parts[0][0] === "converged") fine.push(count.label);
    else if (parts.length) lines.push(element("li", {"data-counts": key}, `${sentence(count.label)}: ${parts.map(([flag, n]) => `${n} ${flag}`).join(", ")}`));
  }
  if (fine.length) lines.push(element("li", {"data-counts": "fine"}, `All solves converged: ${fine.join(", ")}`));
  return lines;
}
function snippet(place) {
  if (!experiment.config) return "";
  const values = Object.fromEntries(["depth", "width", "init_scale", "n_train"].map((d) => [d, experiment.axes[d].values[place[d]]]));
  const number = (v, d) => (d === "init_scale" && Number.isInteger(v) ? `${v}.0` : String(v));
  const grid = Object.entries(values).map(([d, v]) => `${d}: [${number(v, d)}]`).join(", ");
  const own = `${experiment.name}_depth${values.depth}_width${values.width}_scale${String(values.init_scale).replace(".", "p")}_n${values.n_train}`;
  return `# make run MINE=this_cell.yaml\nexperiments:\n  ${own}:\n    grid: {${grid}, draws: ${experiment.draws}, seeds: ${experiment.seeds}}\n${experiment.config.replace(/^(?=.)/gm, "    ")}`;
}
async function draw_card() {
  await loaded;
  const host = $("card");
  if (!state.cell) { host.replaceChildren(...overview()); return null; }
  const place = full(state.cell), flags = Object.entries(experiment.layers).filter(([, one]) => one.kind === "flags");
  const words = flags.map(([key, one]) => [name_of(key), experiment.flags[key].find((f) => f.value === value(one, place))?.words]).filter(([, w]) => w);
  let charts = host.querySelector(".charts");
  const keep = charts && host.dataset.experiment === experiment.name;
  if (!keep) charts = element("div", {class: "charts"});
  host.dataset.experiment = experiment.name;
  const close = element("button", {"aria-label": "Close the card"}, "Close");
  close.addEventListener("click", () => { state.cell = null; refresh(); cells[0]?.node.focus(); });
  const add = element("button", {"data-do": "compare"}, state.chosen.some((c) => same(c, state.cell)) ? "Leave comparison" : "Compare");
  add.addEventListener("click", () => { toggle(state.cell); draw_card(); });
  const opened = [...host.querySelectorAll("details[open] summary")].map((s) => s.textContent);
  const parts = [
    element("div", {class: "card-head"}, element("h2", {"data-regime": ""}, sentence(words[0]?.[1] ?? "Cell")), add, close),
    element("p", {class: "place"}, [place_words(place), ...words.slice(1).map(([key, w]) => `${key}: ${w}`)].join("; ")),
    why_table(place),
    element("ul", {class: "place counts"}, ...counts_of(place)),
    error_table(place),
    charts,
    other_numbers(place),
    experiment.config ? element("details", {}, element("summary", {}, "Config that reruns this cell"), element("pre", {id: "snippet"}, snippet(place))) : null,
    buttons([["card-svg", "SVG"], ["card-csv", "CSV"], ["card-code", "Copy as xarray code"], ["card-config", "Copy config"]]),
    element("p", {class: "how"}, `Values are means with ${100 * experiment.confidence}% intervals over ${experiment.replicates}; what regimes rest on has intervals for new data.`),
  ];
  host.replaceChildren(...parts.filter(Boolean));
  for (const s of host.querySelectorAll("summary")) if (opened.includes(s.textContent)) s.parentElement.open = true;
  return draw_charts(charts, charts_of(place));
}
function overview() {
  const one = experiment, parts = [element("h2", {}, "What the map says"), element("p", {class: "lead"}, `${one.n_networks} networks, ${one.draws} draw${one.draws === 1 ? "" : "s"} × ${one.seeds} seed${one.seeds === 1 ? "" : "s"} a cell. Choose a cell for its card.`)];
  for (const [key, flags] of Object.entries(one.flags)) {
    const counts = new Map();
    for (const v of numbers(one.layers[key].value)) counts.set(v, (counts.get(v) ?? 0) + 1);
    const rows = flags.filter((f) => counts.get(f.value)).map((f) => element("tr", {"data-flag": f.value}, element("th", {scope: "row"}, sentence(f.words)), element("td", {class: "number"}, String(counts.get(f.value)))));
    parts.push(element("table", {class: "plain", "data-overview": key}, element("thead", {}, element("tr", {}, element("th", {}, sentence(name_of(key))), element("th", {}, "cells, all sizes"))), element("tbody", {}, ...rows)));
  }
  for (const line of one.notices) parts.push(element("p", {class: "how"}, line));
  return parts;
}
const buttons = (pairs) => element("div", {class: "buttons"}, ...pairs.map(([action, text]) => element("button", {"data-do": action}, text)));

// ---- comparison --------------------------------------------------------------------------------------------------
let compared = "network";
async function draw_compare() {
  await loaded;
  const host = $("compare");
  host.hidden = !state.chosen.length;
  if (!state.chosen.length) { host.replaceChildren(); return null; }
  const palette = experiment.predictors.map((p) => p.color).filter((c) => c !== "ink"), markers = "os^Dv*";
  const most = 12, shown = state.chosen.slice(0, most);
  const looks = shown.map((c, k) => ({color: k === 0 ? "ink" : contents.shades[Math.round(4 + (k - 1) / Math.max(1, shown.length - 2) * 26)] ?? palette[0], marker: markers[k % 6], dash: [[], [6, 3], [2, 2], [7, 2, 2, 2]][k % 4], label: place_words(c, PLACE)}));
  const select = element("select", {id: "compared"}, ...experiment.predictors.map((p) => element("option", {value: p.name}, p.label)));
  if (!experiment.predictors.some((p) => p.name === compared)) compared = experiment.predictors[0]?.name;
  select.value = compared;
  select.addEventListener("change", () => { compared = select.value; draw_compare(); });
  const clear = element("button", {}, "Clear");
  clear.addEventListener("click", () => { state.chosen = []; refresh(); });
  let charts = host.querySelector(".charts");
  if (!charts || host.dataset.experiment !== experiment.name) charts = element("div", {class: "charts"});
  host.dataset.experiment = experiment.name;
  const specs = [];
  for (const metric of ["test_mse", "test_error"]) {
    const one = experiment.layers[`${metric}_${compared}`];
    if (one && size("n_train") > 1) { specs.push({id: `compare-${metric}`, title: sentence(one.label), series: shown.map((c, k) => along(one, "n_train", full(c), looks[k])), x_label: "training samples n", x_name: "n", y_label: "test error", log_x: true, log_y: true}); break; }
  }
  for (const [key, one] of Object.entries(experiment.layers)) {
    if (one.dims.includes("epoch") && ["kernel_drift", "kernel_alignment", "train_mse"].includes(key)) specs.push({id: `compare-${key}`, title: `${sentence(name_of(key))}, networks`, series: shown.map((c, k) => along(one, "epoch", full(c), looks[k])), bands: true, x_label: "epoch", x_name: "epoch", y_label: name_of(key), log_x: true, log_y: one.logarithmic});
  }
  host.replaceChildren(element("div", {class: "card-head"}, element("h2", {}, `${state.chosen.length} cell${state.chosen.length === 1 ? "" : "s"} compared${state.chosen.length > most ? `, the first ${most} drawn` : ""}`), element("label", {class: "place"}, "learning curve of ", select), clear), keys(looks), charts, buttons([["compare-svg", "SVG"], ["compare-csv", "CSV"]]));
  return draw_charts(charts, specs);
}

// ---- files and code ----------------------------------------------------------------------------------------------
function said(text) {
  const node = $("said");
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(node.timer);
  node.timer = setTimeout(() => node.classList.remove("shown"), 1600);
}
function save(name, text, type) {
  const link = element("a", {href: URL.createObjectURL(new Blob([text], {type})), download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  said(`saved ${name}`);
}
async function copy(text, what) {
  window.atlas.copied = text; // at once: the clipboard answers when it likes
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = element("textarea", {});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  said(`copied ${what}`);
}
const csv = (rows) => rows.map((row) => row.map((v) => (typeof v === "string" && /[",\n]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v === undefined || Number.isNaN(v) ? "" : String(v))).join(",")).join("\n") + "\n";
// A drawing with its colours written into it: a file has no style sheet of ours.
function frozen(svg) {
  const twin = svg.cloneNode(true), from = [svg, ...svg.querySelectorAll("*")], to = [twin, ...twin.querySelectorAll("*")];
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "text-anchor", "visibility"]) {
      const v = style.getPropertyValue(name);
      if (v) to[i].setAttribute(name, v);
    }
    for (const gone of ["class", "tabindex", "style", "role"]) to[i].removeAttribute(gone);
  });
  return twin;
}
function sheet(drawings, title, columns = 2) {
  const gap = 18, widths = drawings.map((d) => d.width), room = Math.max(...widths) + gap;
  const n = Math.min(columns, drawings.length), heights = [];
  drawings.forEach((d, i) => { const r = Math.floor(i / n); heights[r] = Math.max(heights[r] ?? 0, d.height); });
  const width = room * n + gap, height = 44 + heights.reduce((a, b) => a + b + gap, 0);
  const out = element("svg", {xmlns: SVG, viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "sans-serif"}, element("rect", {width, height, fill: css("--paper")}), element("text", {x: gap, y: 26, "font-size": 15, "font-weight": 600, fill: css("--ink")}, title), $("defs").querySelector("defs").cloneNode(true));
  out.querySelectorAll("path").forEach((p) => p.setAttribute("stroke", css("--faint")));
  let y = 40;
  heights.forEach((h, r) => {
    drawings.slice(r * n, r * n + n).forEach((d, c) => {
      d.node.setAttribute("x", gap + c * room); d.node.setAttribute("y", y);
      d.node.setAttribute("width", d.width); d.node.setAttribute("height", d.height);
      out.append(d.node);
    });
    y += h + gap;
  });
  return new XMLSerializer().serializeToString(out);
}
function map_svg() {
  const drawings = panels.map((p) => ({node: frozen(p.svg), width: Number(p.svg.getAttribute("width")), height: Number(p.svg.getAttribute("height"))}));
  const legend = element("svg", {}), items = [...$("legend").children];
  items.forEach((item, i) => {
    const picture = item.querySelector("svg");
    const twin = frozen(picture);
    twin.setAttribute("x", 0); twin.setAttribute("y", i * 22);
    twin.setAttribute("width", picture.getAttribute("width")); twin.setAttribute("height", picture.getAttribute("height"));
    legend.append(twin, element("text", {x: Number(picture.getAttribute("width")) + 8, y: i * 22 + 13, "font-size": 12, fill: css("--ink")}, item.textContent.replace(picture.textContent, "")));
  });
  drawings.push({node: legend, width: 420, height: items.length * 22 + 6});
  const at_ = slider_axes().map((d) => `${d} = ${experiment.axes[d].values[state.at[d]]}`).join(", ");
  return sheet(drawings, `${experiment.name}: ${name_of(state.colour)}${at_ ? ` at ${at_}` : ""}`, 2);
}
function shadow_svg(node) {
  if (node.tagName?.toLowerCase() === "svg" && node.clientWidth > 60) return node;
  for (const child of [...(node.shadowRoot?.children ?? []), ...node.children]) { const found = shadow_svg(child); if (found) return found; }
  return null;
}
async function charts_svg(host, title) {
  const drawings = [];
  for (const node of host.querySelectorAll(".chart")) {
    const view = node.querySelector(".plot").made?.view;
    if (!view) continue;
    const layer_ = view.export("svg", false), text = layer_.ctx.get_serialized_svg(true);
    const inner = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
    const width = Number(inner.getAttribute("width")), height = Number(inner.getAttribute("height"));
    const both = element("svg", {}, element("text", {x: 8, y: 13, "font-size": 13, "font-weight": 600, fill: css("--ink")}, node.querySelector("h3").textContent));
    inner.setAttribute("y", 18);
    both.append(document.adoptNode(inner));
    drawings.push({node: both, width, height: height + 22});
  }
  const looks = host.id === "compare" ? [] : experiment.predictors;
  if (looks.length) {
    const legend = element("svg", {});
    looks.forEach((p, i) => legend.append(element("line", {x1: 8, x2: 38, y1: 12 + i * 18, y2: 12 + i * 18, stroke: colour_of(p), "stroke-width": 2, "stroke-dasharray": p.dash.join(" ") || null}), element("text", {x: 46, y: 16 + i * 18, "font-size": 12, fill: css("--ink")}, p.label)));
    drawings.push({node: legend, width: 260, height: looks.length * 18 + 10});
  }
  return sheet(drawings, title, 2);
}
function map_csv() {
  const one = layer(), dims = [...PLACE, ...Object.keys(experiment.axes).filter((d) => one.dims.includes(d) && !PLACE.includes(d))];
  const rows = [[...dims, state.colour, ...(one.kind === "flags" ? ["words"] : ["low", "high"])]];
  for (const c of cells) {
    const place = full(place_of(c)), v = value(one, place);
    rows.push([...dims.map((d) => experiment.axes[d].values[place[d]]), v, ...(one.kind === "flags" ? [experiment.flags[state.colour].find((f) => f.value === v)?.words ?? ""] : [value(one, place, "low"), value(one, place, "high")])]);
  }
  return csv(rows);
}
function charts_csv(host) {
  const rows = [["chart", "curve", "x", "value", "low", "high"]];
  for (const node of host.querySelectorAll(".chart")) for (const s of node.spec.series) s.x.forEach((x, i) => rows.push([node.spec.id, s.label, x, s.y[i], s.low?.[i], s.high?.[i]]));
  return csv(rows);
}
function code(key, place, cell) {
  const one = experiment.layers[key], axes = experiment.axes;
  const picked = (d) => { const v = axes[d].values[place[d]]; return `${d === "checkpoint" ? "epoch" : d}=${typeof v === "string" ? `"${v}"` : v}`; };
  const dims = one.dims.filter((d) => cell || !["depth", "width", "init_scale"].includes(d));
  const select = `.sel(${dims.map(picked).join(", ")})`;
  if (one.file === "regimes") return `import xarray as xr\n\nregimes = xr.open_dataset("${experiment.folder}/regimes.nc")\nvalue = regimes["${key}"]${select}  # ${one.label}\nprint(value.values)\n`;
  const over = '[d for d in ("draw", "seed") if d in values.dims]';
  const mean = one.logarithmic ? `np.exp(np.log(values.where(values > 0)).mean("seed" if "seed" in values.dims else []).mean("draw"))` : `values.mean("seed" if "seed" in values.dims else []).mean("draw")`;
  return `import numpy as np\nimport xarray as xr\n\ncube = xr.open_dataset("${experiment.folder}/cube.nc")\nvalues = cube["${key}"]${select}  # ${one.label}\nvalue = ${mean}  # over ${over.length ? "networks" : ""}, draw by draw\nprint(value.values)\n`;
}
const ACTIONS = {
  "map-svg": () => save(`${experiment.name}-${state.colour}.svg`, map_svg(), "image/svg+xml"),
  "map-csv": () => save(`${experiment.name}-${state.colour}.csv`, map_csv(), "text/csv"),
  "map-code": () => copy(code(state.colour, state.at, false), "code"),
  link: () => { to_hash(); return copy(location.href, "the link"); },
  "card-svg": async () => save(`${experiment.name}-${cell_text(state.cell)}.svg`, await charts_svg($("card"), `${experiment.name}, ${place_words(full(state.cell))}`), "image/svg+xml"),
  "card-csv": () => save(`${experiment.name}-${cell_text(state.cell)}.csv`, charts_csv($("card")), "text/csv"),
  "card-code": () => copy(code(state.colour, full(state.cell), true), "code"),
  "card-config": () => copy(snippet(full(state.cell)), "the config"),
  "compare-svg": async () => save(`${experiment.name}-compared.svg`, await charts_svg($("compare"), `${experiment.name}, cells compared`), "image/svg+xml"),
  "compare-csv": () => save(`${experiment.name}-compared.csv`, charts_csv($("compare")), "text/csv"),
};
document.addEventListener("click", (event) => { const action = ACTIONS[event.target.closest?.("[data-do]")?.dataset.do]; if (action) action(); });

// ---- the other parts ---------------------------------------------------------------------------------------------
function draw_claims() {
  const host = $("part-claims");
  if (!contents.judges) { host.replaceChildren(element("p", {class: "lead"}, "This study judges no claims. ", element("code", {}, "claims: config/claims/finite_width.yaml"), " in its config has them judged.")); return; }
  const rows = contents.claims.map((row) => {
    const has = row.value !== null, bounds = [row.lower, row.upper].map((b) => b ?? NaN);
    const picture = has ? number_line({v: row.value, low: row.low ?? NaN, high: row.high ?? NaN, inner: [row.low_this_data ?? NaN, row.high_this_data ?? NaN], lower: bounds[0], upper: bounds[1], outside: row.outside === true || row.outside === "True", verdict: row.verdict, width: 460, height: 46, ticks: true}) : null;
    return element("article", {class: "claim", "data-claim": row.claim, "data-experiment": row.experiment},
      element("div", {}, element("h2", {}, `${row.claim}. ${row.statement}`), element("p", {class: "reason"}, [row.experiment, row.statistic, row.source].filter(Boolean).join(" · "))),
      element("div", {}, element("p", {}, element("span", {class: `word ${row.verdict.replaceAll(" ", "-")}`}, sentence(row.verdict)), has ? element("span", {class: "place number"}, ` ${interval(row.value, row.low ?? NaN, row.high ?? NaN)}, claimed ${row.threshold}`) : null), picture, element("p", {class: "reason"}, row.reason)));
  });
  const counts = new Map();
  for (const row of contents.claims) counts.set(row.verdict, (counts.get(row.verdict) ?? 0) + 1);
  host.replaceChildren(element("h1", {}, [...counts].map(([word, n]) => `${n} ${word}`).join(", ")), element("p", {class: "lead"}, "Shaded: where the claim says that the number lies. Thin bar: interval for new data, by which the claim is judged; thick bar: for this data set. Full circle: supported, cross: not supported, hollow circle: inconclusive."), ...rows);
}
function draw_experiments() {
  const rows = contents.experiments.map((one) => {
    const open_ = element("button", {}, one.name);
    open_.addEventListener("click", () => { experiment = one; defaults(); state.tab = "map"; rebuild(); });
    const sizes = ["depth", "width", "init_scale", "n_train"].filter((d) => one.axes[d]).map((d) => `${d} ${one.axes[d].values.join(", ")}`).join(" · ");
    return element("tr", {}, element("td", {}, open_), element("td", {}, one.settings.data ?? "–"), element("td", {}, one.settings.network ?? "–"), element("td", {}, one.settings.training ?? "–"), element("td", {}, sizes), element("td", {}, `${one.n_networks} (${one.draws} × ${one.seeds})`), element("td", {}, one.sentences[0] ?? "no regimes"));
  });
  $("part-experiments").replaceChildren(element("div", {class: "table"}, element("table", {class: "plain"}, element("thead", {}, element("tr", {}, ...["experiment", "data", "network", "training", "grid", "networks (draws × seeds)", "finding"].map((t) => element("th", {}, t)))), element("tbody", {}, ...rows))));
}
function draw_made() {
  const parts = [];
  for (const one of contents.experiments) {
    parts.push(element("h2", {}, one.name));
    parts.push(element("div", {class: "table"}, element("table", {class: "plain"}, element("tbody", {}, ...Object.entries({...one.made, files: `${one.folder}/*.nc`}).map(([k, v]) => element("tr", {}, element("th", {scope: "row"}, name_of(k)), element("td", {}, element("code", {}, v))))))));
    const given = Object.entries(one.thresholds).map(([k, t]) => element("li", {}, element("strong", {}, `${name_of(k)}: ${t.value}. `), t.reason));
    if (given.length) parts.push(element("details", {}, element("summary", {}, "Thresholds of the regimes, and why"), element("ul", {}, ...given)));
    if (one.config) parts.push(element("details", {}, element("summary", {}, "Settings"), element("pre", {}, one.config)));
  }
  parts.push(element("p", {class: "lead"}, "This page is one file and asks for nothing: numbers are slices of the study's NetCDF files and means over networks (of logarithms for errors and drifts), curves are drawn by Bokeh (BSD-3-Clause)."));
  $("part-made").replaceChildren(...parts);
}
function draw_missing() {
  const list = experiment.missing.map((m) => element("li", {}, `${sentence(m.what)}: `, element("code", {}, m.key)));
  $("missing").replaceChildren(...(list.length ? [element("h3", {}, "Not in this experiment, and what adds it"), element("ul", {}, ...list)] : []));
}
function draw_finding() {
  const [first = `${experiment.name}: ${experiment.n_networks} networks, no regimes told`, ...others] = experiment.sentences;
  const [head, ...rest] = first.split("; ");
  $("headline").textContent = head.replace(/\.?$/, ".");
  const lines = [...(rest.length ? [sentence(rest.join("; "))] : []), ...others].map((text) => element("li", {}, text));
  $("sentences").replaceChildren(...lines.slice(0, 3));
  $("more").hidden = lines.length <= 3;
  $("more").querySelector("ul").replaceChildren(...lines.slice(3));
}

// ---- all of it ---------------------------------------------------------------------------------------------------
function show_tab() {
  for (const tab of document.querySelectorAll("[data-tab]")) {
    const mine = tab.dataset.tab === state.tab;
    tab.setAttribute("aria-selected", mine);
    tab.setAttribute("tabindex", mine ? 0 : -1);
    $(`part-${tab.dataset.tab}`).hidden = !mine;
  }
}
document.querySelector("nav").addEventListener("click", (event) => { const tab = event.target.dataset?.tab; if (tab) { state.tab = tab; show_tab(); to_hash(); } });
document.querySelector("nav").addEventListener("keydown", (event) => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key], tabs = [...document.querySelectorAll("[data-tab]")];
  if (!step) return;
  const next = tabs[(tabs.findIndex((t) => t.dataset.tab === state.tab) + step + tabs.length) % tabs.length];
  state.tab = next.dataset.tab; show_tab(); next.focus(); to_hash();
});
document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); cells[0]?.node.focus(); });
$("experiment").append(...contents.experiments.map((e) => element("option", {value: e.name}, e.name)));
document.querySelector(".experiment").hidden = contents.experiments.length < 2;
$("experiment").addEventListener("change", () => { experiment = contents.experiments.find((e) => e.name === $("experiment").value); const tab = state.tab; defaults(); state.tab = tab; rebuild(); });
function refresh() { update_map(); to_hash(); return Promise.all([draw_card(), draw_compare()]); }
function rebuild() {
  $("experiment").value = experiment.name;
  draw_finding();
  build_controls();
  build_map();
  show_tab();
  draw_missing();
  return refresh();
}
const defs = element("svg", {id: "defs", width: 0, height: 0, style: "position:absolute", "aria-hidden": "true"}, element("defs", {}, element("pattern", {id: "hatch", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)"}, element("path", {d: "M0 0V7", stroke: "var(--faint)", "stroke-width": 2.2}))));
document.body.prepend(defs);
window.atlas = {contents, state, figures, interval, load_library};
const first_arrays = Object.values(contents.experiments[0]?.frontiers ?? {}).map((one) => one.value);
const asked = new URLSearchParams(location.hash.slice(1)).get("experiment");
const start = () => { from_hash(); return rebuild(); };
if (first_arrays.every(here) && (!asked || asked === contents.experiments[0].name)) start();
else loaded.then(start);
loaded.then(() => { draw_claims(); draw_experiments(); draw_made(); });
addEventListener("hashchange", () => { if (location.hash !== written) { from_hash(); rebuild(); } });
dark.addEventListener("change", () => refresh());
performance.mark("atlas-drawn");
loaded.then(() => (window.requestIdleCallback ?? setTimeout)(() => setTimeout(load_library, 300)));
})();
