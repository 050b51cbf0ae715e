// The picture: spectrogram, crops and one lane a class, all on one axis of time that zooms and scrolls.

import { byId, clock, element } from "/text.js";

const STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200];
const LEAST_SECONDS = 0.5; // that can be shown
const ROW_PIXELS = 21; // between labels of crops that lie on each other
const LABEL_PIXELS = 150; // of a label that is longer than its crop

export class Timeline {
  constructor(player) {
    this.player = player;
    this.canvas = byId("spectrogram").querySelector("canvas");
    this.lanes = [];
    this.crops = [];
    byId("zoom-in").onclick = () => this.zoom(0.5);
    byId("zoom-out").onclick = () => this.zoom(2);
    byId("fit").onclick = () => this.show(0, this.answer.seconds);
    byId("view").addEventListener("keydown", (event) => this.key(event));
    byId("spectrogram").addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.drag(byId("spectrogram"));
    const overview = byId("overview");
    const jump = (event) => {
      if (!event.buttons) return;
      const middle = (event.offsetX / overview.clientWidth) * this.answer.seconds;
      const half = (this.end - this.start) / 2;
      this.show(middle - half, middle + half);
    };
    overview.onpointerdown = (event) => {
      overview.setPointerCapture(event.pointerId);
      jump(event);
    };
    overview.onpointermove = jump;
    new ResizeObserver(() => this.draw()).observe(byId("view"));
  }

  load(answer, about) {
    this.answer = answer;
    this.L = about.classes.length;
    this.palette = new Uint32Array(about.palette.map(([r, g, b]) => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0));
    const { bins } = answer;
    byId("scale").replaceChildren(
      ...answer.ticks_khz.map(([khz, at]) => {
        const tick = element("span", { text: khz });
        tick.style.bottom = `${(100 * at) / bins}%`;
        return tick;
      }),
    );
    [this.start, this.end] = [0, answer.seconds];
  }

  show(start, end) {
    const all = this.answer.seconds;
    const length = Math.min(all, Math.max(end - start, LEAST_SECONDS));
    this.start = Math.max(0, Math.min(start, all - length));
    this.end = this.start + length;
    this.draw();
  }

  zoom(factor, at = null) {
    const { start, end } = this;
    const playing = this.player.time;
    const centre = at ?? (playing > start && playing < end ? playing : (start + end) / 2);
    this.show(centre - (centre - start) * factor, centre + (end - centre) * factor);
  }

  key(event) {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (this.end - this.start) / 8;
    const done = {
      " ": () => this.player.toggleAll(),
      ArrowLeft: () => this.show(this.start - step, this.end - step),
      ArrowRight: () => this.show(this.start + step, this.end + step),
      Home: () => this.show(0, this.end - this.start),
      End: () => this.show(this.answer.seconds - (this.end - this.start), this.answer.seconds),
      "+": () => this.zoom(0.5),
      "=": () => this.zoom(0.5),
      "-": () => this.zoom(2),
    }[event.key];
    if (!done) return;
    event.preventDefault();
    done();
  }

  wheel(event) {
    if (event.ctrlKey) {
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY / 200), this.secondsAt(event));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = (event.deltaX / this.width) * (this.end - this.start);
      this.show(this.start + by, this.end + by);
    }
  }

  // Dragging scrolls; a click sets where playing begins.
  drag(area) {
    let from = null;
    area.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.target === this.canvas) from = { x: event.clientX, start: this.start, moved: false };
    });
    area.addEventListener("pointermove", (event) => {
      if (!from) return;
      if (Math.abs(event.clientX - from.x) > 4 && !from.moved) {
        from.moved = true;
        area.setPointerCapture(event.pointerId);
      }
      if (!from.moved) return;
      const length = this.end - this.start;
      const start = from.start - ((event.clientX - from.x) / this.width) * length;
      this.show(start, start + length);
    });
    area.addEventListener("pointerup", (event) => {
      if (from && !from.moved) this.player.seek(this.secondsAt(event));
      from = null;
    });
    area.addEventListener("pointercancel", () => (from = null));
  }

  secondsAt(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    return this.start + ((event.clientX - left) / width) * (this.end - this.start);
  }

  // crops: {start, end, label, colour, main, key}; lanes: {k, label, colour, threshold, events}.
  set(crops, lanes) {
    this.crops = crops;
    byId("crops").replaceChildren(
      ...crops.map((crop) => {
        const said = `${crop.label}, ${clock(crop.start)} to ${clock(crop.end)}: play this crop`;
        const button = element("button", { type: "button", class: crop.main ? `on-dark c${crop.colour}` : "plain", "aria-label": said, title: said });
        button.append(element("span", { text: crop.label, dir: "auto" }));
        button.onclick = () => this.player.toggle(crop.key, crop.start, crop.end);
        crop.button = button;
        return button;
      }),
    );
    if (lanes.map((lane) => lane.k).join() !== this.lanes.map((lane) => lane.k).join())
      byId("lanes").replaceChildren(
        ...lanes.map((lane) => element("div", { class: `lane c${lane.colour}` }, element("canvas"), element("b", { text: lane.label }))),
      );
    this.lanes = lanes;
    this.draw();
  }

  draw() {
    if (!this.answer || this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = null;
      this.width = byId("spectrogram").clientWidth;
      if (!this.width) return;
      this.drawSpectrogram(this.canvas, this.start, this.end);
      this.placeCrops();
      this.drawAxis();
      this.lanes.forEach((lane, i) => this.drawLane(lane, byId("lanes").children[i].firstChild));
      this.drawOverview();
      this.moveHead();
    });
  }

  // A column of pixels shows the largest value of the columns in it: what is short stays visible.
  drawSpectrogram(canvas, start, end) {
    const { spectrogram, bins, column_seconds: unit } = this.answer;
    const columns = spectrogram.length / bins;
    const first = Math.min(columns - 1, Math.max(0, Math.floor(start / unit)));
    const last = Math.max(first + 1, Math.min(columns, Math.ceil(end / unit)));
    const width = Math.min(last - first, Math.round(canvas.clientWidth * devicePixelRatio));
    const small = new OffscreenCanvas(width, bins);
    const image = new ImageData(width, bins);
    const pixels = new Uint32Array(image.data.buffer);
    const largest = new Uint8Array(bins);
    for (let x = 0; x < width; x++) {
      const to = first + Math.floor(((x + 1) * (last - first)) / width);
      largest.fill(0);
      for (let c = first + Math.floor((x * (last - first)) / width); c < to; c++)
        for (let f = 0, at = c * bins; f < bins; f++, at++) if (spectrogram[at] > largest[f]) largest[f] = spectrogram[at];
      for (let f = 0; f < bins; f++) pixels[(bins - 1 - f) * width + x] = this.palette[largest[f]];
    }
    small.getContext("2d").putImageData(image, 0, 0);
    const context = fitted(canvas);
    const perSecond = canvas.width / (end - start);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, (first * unit - start) * perSecond, 0, (last - first) * unit * perSecond, canvas.height);
  }

  placeCrops() {
    const ends = []; // of the rows, in pixels
    const shown = this.end - this.start;
    const height = byId("spectrogram").clientHeight;
    for (const crop of [...this.crops].sort((a, b) => a.start - b.start)) {
      const { style } = crop.button;
      const left = ((crop.start - this.start) / shown) * this.width;
      const width = ((crop.end - crop.start) / shown) * this.width;
      crop.button.hidden = left + width < 0 || left > this.width;
      if (crop.button.hidden) continue;
      const label = crop.button.firstChild;
      label.hidden = !crop.main && width < 70;
      const most = crop.main ? Math.max(width, LABEL_PIXELS) : width;
      const needs = Math.min(most, 7.2 * crop.label.length + 24);
      // A label stays in the picture, and keeps clear of those beside it.
      const begin = Math.max(0, Math.min(Math.max(0, left), this.width - needs));
      let row = crop.main ? ends.findIndex((end) => end <= Math.min(left, begin) + 1) : 0;
      if (row < 0) row = ends.length;
      if (crop.main) ends[row] = Math.max(left + width, begin + needs);
      const top = crop.main ? 3 + Math.min(row * ROW_PIXELS, height - 60) : 1;
      const inset = crop.main ? 3 + Math.min(4 * row, 40) : 1;
      [style.left, style.width] = [`${left}px`, `${Math.max(6, width)}px`];
      [style.top, style.height, style.zIndex] = [`${top}px`, `${height - top - inset}px`, crop.main ? row + 1 : 0];
      [label.style.left, label.style.maxWidth] = [`${begin - left - 2}px`, `${most}px`];
    }
  }

  drawAxis() {
    const shown = this.end - this.start;
    const step = STEPS.find((s) => (s / shown) * this.width >= 72) ?? 3600;
    const ticks = [];
    for (let i = Math.ceil(this.start / step); i * step < this.end; i++) {
      const at = ((i * step - this.start) / shown) * this.width;
      if (at > this.width - 34) break;
      const tick = element("span", { text: clock(i * step, step < 0.1 ? 2 : step < 1 ? 1 : 0) });
      tick.style.left = `${at}px`;
      ticks.push(tick);
    }
    byId("axis").replaceChildren(...ticks);
  }

  drawLane(lane, canvas) {
    const { frames, frame_seconds: unit } = this.answer;
    const context = fitted(canvas);
    const { width, height } = canvas;
    const colour = getComputedStyle(canvas).getPropertyValue("--c");
    const ratio = devicePixelRatio;
    const base = height - 9 * ratio;
    const rise = base - 5 * ratio;
    const T = frames.length / this.L;
    const perPixel = (this.end - this.start) / width;
    const curve = new Path2D();
    for (let x = 0; x <= width; x++) {
      const first = Math.min(T - 1, Math.floor((this.start + x * perPixel) / unit));
      const last = Math.min(T, Math.max(first + 1, Math.floor((this.start + (x + 1) * perPixel) / unit)));
      let value = 0;
      for (let t = first; t < last; t++) value = Math.max(value, frames[t * this.L + lane.k]);
      curve.lineTo(x, base - value * rise);
    }
    const area = new Path2D(curve);
    area.lineTo(width, base);
    area.lineTo(0, base);
    context.fillStyle = context.strokeStyle = colour;
    context.globalAlpha = 0.2;
    context.fill(area);
    context.globalAlpha = 1;
    context.lineWidth = 1.6 * ratio;
    context.stroke(curve);
    context.setLineDash([5 * ratio, 4 * ratio]);
    context.lineWidth = ratio;
    context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--soft");
    const y = base - lane.threshold * rise;
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(width, y);
    context.stroke();
    for (const event of lane.events) {
      const x = (event.from - this.start) / perPixel;
      context.fillRect(x, base + 2 * ratio, Math.max(2 * ratio, (event.to - event.from) / perPixel), 5 * ratio);
    }
  }

  drawOverview() {
    const canvas = byId("overview");
    const all = this.answer.seconds;
    canvas.hidden = this.end - this.start > 0.999 * all;
    if (canvas.hidden) return;
    this.drawSpectrogram(canvas, 0, all);
    const context = canvas.getContext("2d");
    const [left, right] = [this.start, this.end].map((s) => (s / all) * canvas.width);
    context.fillStyle = "#000a";
    context.fillRect(0, 0, left, canvas.height);
    context.fillRect(right, 0, canvas.width, canvas.height);
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeRect(left + 1, 1, Math.max(3, right - left - 2), canvas.height - 2);
  }

  // The line where it plays; while all plays, the view follows it.
  moveHead() {
    const { time, key } = this.player;
    const length = this.end - this.start;
    if (key === "all" && time > this.end && this.end < this.answer.seconds - 1e-6) this.show(time, time + length);
    const head = byId("head");
    const at = ((time - this.start) / length) * this.width;
    head.style.display = at >= 0 && at <= this.width && (key !== null || time > 0) ? "block" : "none";
    head.style.left = `${byId("spectrogram").offsetLeft + at}px`;
    for (const crop of this.crops) crop.button.classList.toggle("sounding", crop.key === key);
  }
}

// The context of a canvas that has a pixel for each of the screen's, cleared.
function fitted(canvas) {
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  return canvas.getContext("2d");
}
