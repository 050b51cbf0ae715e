// The lists beside the picture: tags with both streams' opinions, and the table of events.

import { byId, clock, element, playButton, score } from "/text.js";

const FIRST_TAGS = 5;
const MOST_ROWS = 300; // of the table that are shown; the download has all

export const colourOf = (rank) => rank % 8;

export function playsNow(button, now) {
  button.classList.toggle("playing", now);
}

// The list of tags. `shown` is the set of classes in the picture; `changed` is called when the reader changes it.
export function listTags(answer, about, shown, player, changed, all = false) {
  const rows = answer.tags.slice(0, all ? undefined : FIRST_TAGS).map((tag, rank) => {
    const label = about.classes[tag.class];
    const row = element("li", { class: `c${colourOf(rank)}` });
    const box = element("input", { type: "checkbox", id: `tag-${tag.class}`, title: "show in the picture" });
    box.checked = shown.has(tag.class);
    box.onchange = () => {
      if (box.checked) shown.add(tag.class);
      else shown.delete(tag.class);
      changed();
    };
    row.append(box, element("label", { for: box.id, text: label }), element("span", { class: "value", text: score(tag.fused) }));
    const crop = answer.crops[tag.crop];
    const play = crop ? playButton(`Play the crop that decided for ${label}`) : element("span");
    if (crop) {
      play.dataset.key = `crop-${tag.crop}`;
      play.onclick = () => player.toggle(play.dataset.key, crop.start, crop.end);
    }
    row.append(play);
    const streams = element("div", { class: "streams" });
    const alone = tag.local === null; // then fused is what the global stream says
    for (const name of alone ? ["fused"] : ["fused", "global", "local"]) {
      const bar = element("i");
      bar.style.width = `${100 * tag[name]}%`;
      streams.append(element("span", { text: alone ? "global" : name }), element("div", { class: `meter ${name}`, "aria-hidden": "true" }, bar));
      if (name !== "fused") streams.append(element("span", { class: name, text: score(tag[name]) })); // it stands above
    }
    row.append(streams);
    if (crop) row.append(element("p", { class: "why", text: `${clock(crop.start)} – ${clock(crop.end)} decided, with ${score(tag.crop_probability)}` }));
    return row;
  });
  byId("tag-list").replaceChildren(...rows);
  const more = byId("more");
  more.hidden = answer.tags.length <= FIRST_TAGS;
  more.textContent = all ? `Show the first ${FIRST_TAGS}` : `Show all ${answer.tags.length} classes`;
  more.onclick = () => listTags(answer, about, shown, player, changed, !all);
}

export function listEvents(events, answer, about, player) {
  const rank = new Map(answer.tags.map((tag, i) => [tag.class, i]));
  const rows = events.slice(0, MOST_ROWS).map((event) => {
    const label = about.classes[event.k];
    const play = playButton(`Play ${label} from ${clock(event.from)} to ${clock(event.to)}`);
    play.dataset.key = `event-${event.k}-${event.from}-${event.to}`;
    play.onclick = () => player.toggle(play.dataset.key, event.from, event.to);
    const cell = (text, said, name = "") => element("td", { text, "data-label": said, class: name });
    return element(
      "tr",
      { class: `c${colourOf(rank.get(event.k))}` },
      element("td", {}, play),
      element("td", { class: "name" }, element("i", { "aria-hidden": "true" }), label),
      cell(clock(event.from), "from", "from"),
      cell(clock(event.to), "to", "to"),
      cell(score(event.probability), "frames"),
      cell(score(event.global), "global"),
      cell(score(event.local), "local"),
      cell(score(event.fused), "fused"),
    );
  });
  byId("rows").replaceChildren(...rows);
  byId("count").textContent = events.length;
  byId("none").hidden = events.length > 0;
  byId("table-box").hidden = !events.length;
  byId("download").disabled = !events.length;
  const left = events.length - rows.length;
  byId("not-shown").hidden = left <= 0;
  byId("not-shown").textContent = `and ${left} more, which the download has`;
}
