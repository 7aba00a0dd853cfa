// One slide in deep zoom. Heatmap, reference and lesions are drawn in one SVG over it, in level-0 pixels of the slide.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const NEAR_PX = 18; // a click this near to a lesion's number means the lesion
const byId = (id) => document.getElementById(id);
const { Point, Rect } = OpenSeadragon;

const viewer = OpenSeadragon({
  element: byId("slide"),
  tileSources: "image.dzi",
  drawer: "canvas",
  showNavigationControl: false,
  showNavigator: true,
  navigatorPosition: "BOTTOM_RIGHT",
  navigatorSizeRatio: 0.16,
  navigatorAutoFade: false,
  maxZoomPixelRatio: 4,
  minZoomImageRatio: 0.6,
  visibilityRatio: 0.3,
  animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.6,
  gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
});

// ---- the drawing ----

function svgElement(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const drawing = svgElement("svg", { class: "drawing", "aria-hidden": "true" });
const inSlidePixels = svgElement("g");
const layers = {
  heatmap: svgElement("g", { class: "heatmap" }),
  lesions: svgElement("g", { class: "lesions" }),
  reference: svgElement("g", { class: "reference" }),
};
const numbers = svgElement("g", { class: "numbers" });
inSlidePixels.append(layers.heatmap, layers.lesions, layers.reference);
drawing.append(inSlidePixels, numbers);

let about = null; // what the server told of the slide
let chosen = null; // number of a lesion
const lesions = new Map(); // number -> { lesion, row, mark, region }

function place() {
  const image = viewer.world.getItemAt(0);
  if (!image || !about) return;
  const corner = image.imageToViewerElementCoordinates(new Point(0, 0));
  const far = image.imageToViewerElementCoordinates(new Point(...about.size));
  const scale = (far.x - corner.x) / about.size[0];
  inSlidePixels.setAttribute("transform", `translate(${corner.x} ${corner.y}) scale(${scale})`);
  for (const { lesion, mark } of lesions.values()) {
    mark.setAttribute("transform", `translate(${corner.x + lesion.x * scale} ${corner.y + lesion.y * scale})`);
  }
  drawScale(scale);
}

function drawScale(scale) {
  const umPerScreenPx = about.um_per_px[0] / scale;
  const longest = 140 * umPerScreenPx;
  const power = 10 ** Math.floor(Math.log10(longest));
  const length = [5, 2, 1].map((digit) => digit * power).find((value) => value <= longest);
  byId("scale-bar").style.width = `${length / umPerScreenPx}px`;
  byId("scale-text").textContent = length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(1))} µm`;
  byId("scale").hidden = false;
}

// ---- layers ----

function switchLayer(name, group) {
  const box = byId(`show-${name}`);
  const apply = () => {
    for (const each of group) each.style.display = box.checked ? "" : "none";
    if (name === "heatmap") byId("opacity").disabled = !box.checked;
  };
  box.disabled = false;
  box.addEventListener("change", apply);
  apply();
}

function showHeatmap() {
  if (!about.heatmap) return;
  const [width, height] = about.heatmap.extent;
  const image = svgElement("image", { href: "heatmap.png", width, height, preserveAspectRatio: "none" });
  const clip = svgElement("clipPath", { id: "slide-edge" });
  clip.append(svgElement("rect", { width: about.size[0], height: about.size[1] }));
  image.setAttribute("clip-path", "url(#slide-edge)");
  image.addEventListener("error", () => complain("The heatmap could not be read."));
  layers.heatmap.append(clip, image);
  const { cells, cell_um: side } = about.heatmap;
  const shows = cells === 1 ? "one cell" : `the highest of ${cells} × ${cells} cells`;
  byId("heatmap-note").textContent =
    `A square is ${shows}, ${Math.round(side * cells)} µm wide. Clear: not looked at.`;
  const opacity = byId("opacity");
  const apply = () => (layers.heatmap.style.opacity = opacity.value / 100);
  opacity.addEventListener("input", apply);
  apply();
  switchLayer("heatmap", [layers.heatmap]);
}

function showReference() {
  if (!about.reference) return;
  layers.reference.append(
    svgElement("path", { d: about.reference, class: "casing" }), svgElement("path", { d: about.reference }),
  );
  switchLayer("reference", [layers.reference]);
}

// ---- lesions ----

const formatArea = (mm2) => (mm2 >= 0.01 ? `${mm2.toFixed(2)} mm²` : `${Math.round(mm2 * 1e6).toLocaleString("en")} µm²`);
const formatLength = (um) => (um >= 1000 ? `${(um / 1000).toFixed(1)} mm` : `${Math.round(um)} µm`);

function lesionRow(lesion) {
  const row = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  const [number, probability, size] = ["b", "span", "small"].map((tag) => document.createElement(tag));
  number.textContent = lesion.number;
  probability.textContent = lesion.probability.toFixed(3);
  size.textContent = `${lesion.size} · ${formatLength(lesion.diameter_um)} · ${formatArea(lesion.area_mm2)}`;
  button.append(number, probability, size);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => choose(lesion.number, true));
  row.append(button);
  byId("lesions").append(row);
  return button;
}

function lesionMark(lesion) {
  const mark = svgElement("g");
  const text = svgElement("text", { y: "0.36em" });
  text.textContent = lesion.number;
  mark.append(svgElement("circle", { r: 11 }), text);
  numbers.prepend(mark); // the most probable on top
  return mark;
}

function showLesions() {
  if (about.lesions === null) {
    byId("lesion-count").textContent = "not looked for";
    return;
  }
  byId("lesion-count").textContent = about.lesions.length || "none";
  for (const lesion of about.lesions) {
    lesions.set(lesion.number, { lesion, row: lesionRow(lesion), mark: lesionMark(lesion), region: null });
  }
  for (const { path, lesions: held } of about.regions) {
    const region = svgElement("path", { d: path, "fill-rule": "evenodd" });
    layers.lesions.append(svgElement("path", { d: path, class: "casing" }), region);
    for (const number of held) lesions.get(number).region = region;
  }
  if (about.lesions.length) switchLayer("lesions", [layers.lesions, numbers]);
}

function choose(number, go) {
  for (const [each, { row, mark, region }] of lesions) {
    row.setAttribute("aria-pressed", String(each === number));
    mark.classList.toggle("chosen", each === number);
    if (region) region.classList.remove("chosen");
  }
  chosen = number;
  const found = lesions.get(number);
  if (!found) return;
  found.region?.classList.add("chosen");
  numbers.append(found.mark);
  found.row.scrollIntoView({ block: "nearest" });
  if (go) goTo(found.lesion);
}

function goTo(lesion) {
  const side = Math.max(3 * lesion.diameter_um, 600) / about.um_per_px[0];
  const box = new Rect(lesion.x - side / 2, lesion.y - side / 2, side, side);
  viewer.viewport.fitBoundsWithConstraints(viewer.world.getItemAt(0).imageToViewportRectangle(box));
}

function step(by) {
  const order = [...lesions.keys()];
  if (!order.length) return;
  const at = order.indexOf(chosen);
  const next = at < 0 ? (by > 0 ? 0 : order.length - 1) : (at + by + order.length) % order.length;
  choose(order[next], true);
}

function lesionAt(position) {
  if (!byId("show-lesions").checked) return null;
  const image = viewer.world.getItemAt(0);
  if (!image || !lesions.size) return null;
  let nearest = null;
  let distance = NEAR_PX;
  for (const [number, { lesion }] of lesions) {
    const there = image.imageToViewerElementCoordinates(new Point(lesion.x, lesion.y));
    const away = Math.hypot(there.x - position.x, there.y - position.y);
    if (away < distance) [nearest, distance] = [number, away];
  }
  if (nearest !== null) return nearest;
  const at = image.viewerElementToImageCoordinates(position);
  for (const [number, { region }] of lesions) {
    if (region?.isPointInFill(new DOMPoint(at.x, at.y))) return number;
  }
  return null;
}

viewer.addHandler("canvas-click", (event) => {
  if (event.quick) choose(lesionAt(event.position), false);
});

// ---- keys and buttons ----

const acts = {
  in: () => viewer.viewport.zoomBy(1.6).applyConstraints(),
  out: () => viewer.viewport.zoomBy(1 / 1.6).applyConstraints(),
  home: () => viewer.viewport.goHome(),
};
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => acts[button.dataset.do]());
}

function pan(x, y) {
  const { width, height } = viewer.viewport.getBounds();
  viewer.viewport.panBy(new Point(x * width * 0.2, y * height * 0.2)).applyConstraints();
}

function fade(by) {
  const opacity = byId("opacity");
  opacity.value = Number(opacity.value) + by;
  opacity.dispatchEvent(new Event("input"));
}

const keys = {
  ArrowLeft: () => pan(-1, 0), ArrowRight: () => pan(1, 0), ArrowUp: () => pan(0, -1), ArrowDown: () => pan(0, 1),
  "+": acts.in, "=": acts.in, "-": acts.out, 0: acts.home, Home: acts.home,
  h: () => byId("show-heatmap").click(), l: () => byId("show-lesions").click(), r: () => byId("show-reference").click(),
  "[": () => fade(-10), "]": () => fade(10),
  n: () => step(1), p: () => step(-1),
  ",": () => byId("before")?.click(), ".": () => byId("after")?.click(),
  Escape: () => choose(null, false),
};

viewer.addHandler("canvas-key", (event) => (event.preventDefaultAction = true)); // one set of keys, everywhere
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !viewer.viewport) return;
  const isSlider = event.target.matches("input[type=range]") && event.key.startsWith("Arrow");
  const act = keys[event.key];
  if (!act || isSlider) return;
  event.preventDefault();
  act();
});

// ---- begin ----

function complain(text) {
  const trouble = byId("trouble");
  trouble.textContent = text;
  trouble.hidden = false;
}

let failed = 0;
viewer.addHandler("tile-load-failed", () => {
  failed += 1;
  complain(`${failed} ${failed === 1 ? "part" : "parts"} of the slide could not be read.`);
});
viewer.addHandler("open-failed", () => complain("The slide could not be opened: the terminal says why."));
for (const event of ["update-viewport", "resize", "animation"]) viewer.addHandler(event, place);

async function begin() {
  const opened = new Promise((resolve) => viewer.addOnceHandler("open", resolve));
  const reply = await fetch("slide.json");
  if (!reply.ok) {
    complain("What was found on this slide could not be read: the terminal says why.");
    return;
  }
  about = await reply.json();
  await opened;
  viewer.canvas.append(drawing);
  showHeatmap();
  showReference();
  showLesions();
  for (const note of about.notes) {
    const line = document.createElement("p");
    line.className = "note";
    line.textContent = note;
    byId("notes").append(line);
  }
  place();
  document.documentElement.dataset.state = "ready";
}

begin();
