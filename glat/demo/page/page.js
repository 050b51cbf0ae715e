// What the page does: take a sound, have it heard, show what was heard.

import { Refused, about as askAbout, hear, table } from "/answer.js";
import { findEvents } from "/events.js";
import { colourOf, listEvents, listTags, playsNow } from "/lists.js";
import { Microphone, missing } from "/microphone.js";
import { Player } from "/sound.js";
import { byId, clock } from "/text.js";
import { Timeline } from "/timeline.js";

const FIRST_LANES = 5;
const FORMATS = { csv: "spreadsheets (.csv)", raven: "Raven", audacity: "Audacity", jsonl: "programs (.jsonl)", rttm: "RTTM" };

let about, answer, events, microphone, abort;
const shown = new Set(); // classes in the picture
const player = new Player(playerChanged);
const timeline = new Timeline(player);

async function start() {
  try {
    about = await askAbout();
  } catch (error) {
    return fail(error);
  }
  const { model, classes, rate, clip_seconds: clip, crop_seconds: crop, streams } = about;
  const name = document.createElement("b");
  name.textContent = model;
  name.dir = "auto";
  const crops = streams === "both" ? ` and crops of ${+crop.toFixed(2)} s` : ", global stream alone";
  byId("model").append(name, ` · ${classes.length} classes · hears ${rate / 1000} kHz, windows of ${+clip.toFixed(2)} s${crops}`);
  document.title = `${model} · glat demo`;
  const limits = `Up to ${duration(about.most_seconds)} and ${about.most_bytes / 1e6} MB. WAV, FLAC, Ogg, MP3 and more.`;
  const why = missing();
  byId("record").disabled = why !== null;
  byId("note").textContent = why ? `${limits} ${why}` : limits;
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  byId("kept").textContent = `Sounds go to glat on ${local ? "this machine" : location.hostname} and nowhere else. It keeps nothing; this page forgets them when it is closed. glat ${about.version}`;
  byId("format").append(...Object.keys(about.formats).map((name) => new Option(FORMATS[name], name)));
  byId("all-crops-label").hidden = streams !== "both";
  if (streams !== "both") byId("picture-title").textContent = "The sound";
  byId("own-label").hidden = !about.has_thresholds;
  byId("own").checked = about.has_thresholds;
  listen();
}

function listen() {
  byId("file").onchange = ({ target }) => {
    if (target.files.length) take(target.files[0], target.files[0].name);
    target.value = ""; // so that the same file can be chosen again
  };
  for (const kind of ["dragenter", "dragover"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const { files } = event.dataTransfer;
    if (files.length > 1) fail(new Refused(`These are ${files.length} files; drop one at a time, or use glat tag.`));
    else if (files.length) take(files[0], files[0].name);
  });
  byId("record").onclick = record;
  byId("stop").onclick = () => stopRecording(true);
  byId("discard").onclick = () => stopRecording(false);
  byId("cancel").onclick = () => abort?.abort();
  byId("play").onclick = () => player.toggleAll();
  byId("all-crops").onchange = draw;
  byId("threshold").oninput = () => {
    byId("own").checked = false;
    update();
  };
  for (const id of ["own", "least", "gap"]) byId(id).oninput = update;
  byId("download").onclick = download;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline.draw());
}

async function take(sound, name) {
  if (microphone) return;
  abort?.abort();
  fail(null);
  if (sound.size > about.most_bytes) {
    const most = `${about.most_bytes / 1e6} MB`;
    return fail(new Refused(`${name} has ${(sound.size / 1e6).toFixed(1)} MB, and this page takes up to ${most}; start glat demo with a larger --max-mb, or use glat tag.`));
  }
  if (!sound.size) return fail(new Refused(`${name} is empty, or no file.`));
  const own = (abort = new AbortController());
  const { signal } = own;
  work("Reading");
  try {
    const heard = await hear(sound, name, signal, (message) => own === abort && report(message));
    if (own === abort) show(heard);
  } catch (error) {
    if (own === abort && error.name !== "AbortError") fail(error);
  } finally {
    if (own === abort) work(null);
  }
}

function report({ waiting, heard, of }) {
  if (waiting) work(waiting === 1 ? "Waiting for one sound before this one" : `Waiting for ${waiting} sounds before this one`);
  else work(`Hearing ${clock(heard, 0)} of ${clock(of, 0)}`, heard / of);
}

function work(said, share = 0) {
  byId("work").hidden = said === null;
  byId("said").textContent = said ?? "";
  byId("bar").firstElementChild.style.width = `${100 * share}%`;
  byId("bar").setAttribute("aria-valuenow", Math.round(100 * share));
}

function fail(error) {
  if (error && !(error instanceof Refused)) console.error(error);
  byId("error").hidden = error === null;
  byId("error").textContent = error ? (error instanceof Refused ? error.message : `The page failed: ${error.message}`) : "";
}

async function record() {
  fail(null);
  byId("record").disabled = true;
  try {
    microphone = await Microphone.open(recorded, () => stopRecording(true));
  } catch (error) {
    const why = { NotAllowedError: "the browser does not allow it", NotFoundError: "there is none" }[error.name] ?? error.message;
    byId("record").disabled = false;
    return fail(new Refused(`No microphone: ${why}.`));
  }
  player.stop();
  for (const id of ["choose", "record"]) byId(id).hidden = true;
  byId("recording").hidden = false;
  byId("stop").focus();
}

const levels = [];
function recorded(level, seconds) {
  byId("recorded").textContent = clock(seconds, 1);
  levels.push(level);
  const canvas = byId("level");
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  levels.slice(-64).forEach((value, i) => {
    const height = Math.max(2, Math.sqrt(value) * 40);
    context.fillRect(5 * i, 22 - height / 2, 3, height);
  });
  if (seconds > about.most_seconds - 1) stopRecording(true);
}

function stopRecording(keep) {
  if (!microphone) return;
  const { seconds } = microphone;
  const sound = microphone.close();
  microphone = null;
  levels.length = 0;
  for (const id of ["choose", "record"]) byId(id).hidden = false;
  byId("record").disabled = false;
  byId("recording").hidden = true;
  byId("recorded").textContent = clock(0, 1);
  byId("record").focus();
  if (keep && seconds) take(sound, `recording ${new Date().toLocaleTimeString("en-GB").replaceAll(":", ".")}.wav`);
}

function show(heard) {
  answer = heard;
  document.body.classList.add("told");
  byId("given").hidden = byId("result").hidden = false;
  byId("given-name").textContent = answer.name;
  byId("given-facts").textContent = clock(answer.seconds);
  byId("choose").textContent = "Another file";
  byId("remarks").hidden = !answer.remarks.length;
  byId("remarks").replaceChildren(
    ...answer.remarks.map((remark) => Object.assign(document.createElement("li"), { textContent: `Note: ${remark}.` })),
  );
  shown.clear();
  for (const tag of answer.tags.slice(0, FIRST_LANES)) shown.add(tag.class);
  byId("all-crops").checked = false;
  player.load(answer);
  timeline.load(answer, about);
  listTags(answer, about, shown, player, draw);
  update();
  const best = answer.tags.slice(0, 3).map((tag) => `${about.classes[tag.class]} ${tag.fused.toFixed(2)}`);
  byId("announced").textContent = `${answer.name} is heard: ${best.join(", ")}; ${events.length} events`;
  byId("picture").scrollIntoView({ block: "nearest", behavior: "auto" });
}

function thresholds() {
  if (byId("own").checked) return about.thresholds;
  return about.classes.map(() => Number(byId("threshold").value));
}

function update() {
  byId("threshold-said").textContent = byId("own").checked ? "own" : Number(byId("threshold").value).toFixed(2);
  if (!answer) return;
  const seconds = (id) => Math.max(0, Number(byId(id).value) || 0);
  const rules = { thresholds: thresholds(), leastSeconds: seconds("least"), gapSeconds: seconds("gap") };
  events = findEvents(answer, rules, about.classes.length);
  listEvents(events, answer, about, player);
  draw();
}

function draw() {
  const limits = thresholds();
  const ranked = answer.tags.map((tag, rank) => ({ ...tag, rank })).filter((tag) => shown.has(tag.class));
  const byCrop = new Map(); // a crop may decide for several classes
  for (const tag of ranked) if (tag.crop !== null) byCrop.set(tag.crop, [...(byCrop.get(tag.crop) ?? []), tag]);
  const crops = [];
  answer.crops.forEach((crop, i) => {
    const decides = byCrop.get(i);
    if (!decides && !byId("all-crops").checked) return;
    const names = decides ? decides.map((tag) => about.classes[tag.class]).join(", ") : about.classes[crop.class];
    crops.push({ start: crop.start, end: crop.end, label: names, colour: decides && colourOf(decides[0].rank), main: Boolean(decides), key: `crop-${i}` });
  });
  const lanes = ranked.map((tag) => ({
    k: tag.class,
    label: about.classes[tag.class],
    colour: colourOf(tag.rank),
    threshold: limits[tag.class],
    events: events.filter((event) => event.k === tag.class),
  }));
  crops.sort((a, b) => a.main - b.main); // those that decided lie on the others
  timeline.set(crops, lanes);
  playerChanged();
}

function playerChanged() {
  if (!answer) return;
  byId("time").textContent = `${clock(player.time, 1)} / ${clock(answer.seconds, 1)}`;
  byId("play-text").textContent = player.key === null ? "Play" : "Stop";
  byId("play").classList.toggle("playing", player.key !== null);
  for (const button of document.querySelectorAll("[data-key]")) playsNow(button, button.dataset.key === player.key);
  timeline.moveHead();
}

async function download() {
  const format = byId("format").value;
  const rows = events.map((e) => [e.k, e.from, e.to, e.peak, e.probability, e.global, Number.isNaN(e.local) ? null : e.local, e.fused]);
  try {
    const text = await table({ format, name: answer.name, events: rows });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = `${answer.name}${about.formats[format]}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    fail(null);
  } catch (error) {
    fail(error);
  }
}

function duration(seconds) {
  return seconds >= 120 ? `${+(seconds / 60).toFixed(1)} minutes` : `${+seconds.toFixed(1)} s`;
}

start();
