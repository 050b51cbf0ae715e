// When each class sounds, by the rules of `Tags.events` (glat/tagging/events.py): here, so that a threshold can be
// moved without asking the server. tests/glat/demo/test_page.py compares the two.

// rules: thresholds [L], leastSeconds, gapSeconds. Returns events by onset, then by class.
export function findEvents(answer, rules, classes) {
  const { frames, windows, window_of_frame: windowOf, frame_seconds: unit, seconds } = answer;
  const L = classes;
  const T = frames.length / L;
  const gap = Math.floor(rules.gapSeconds / unit + 1e-6);
  const found = [];
  for (let k = 0; k < L; k++) {
    const threshold = Math.fround(rules.thresholds[k]); // as the server compares, in float32
    let open = null;
    for (let t = 0; t < T; t++) {
      const value = frames[t * L + k];
      if (!(value >= threshold)) continue;
      if (open === null || t - open.offset > gap) {
        if (open !== null) found.push(open);
        open = { k, onset: t, offset: t + 1, peak: t, probability: value };
        continue;
      }
      open.offset = t + 1;
      if (value > open.probability) {
        open.peak = t;
        open.probability = value;
      }
    }
    if (open !== null) found.push(open);
  }
  found.sort((a, b) => a.onset - b.onset || a.k - b.k);
  const events = [];
  for (const { k, onset, offset, peak, probability } of found) {
    const from = onset * unit;
    const to = Math.min(offset * unit, seconds);
    if (to - from < rules.leastSeconds - 1e-9) continue;
    const [fused, global, local] = [0, 1, 2].map((stream) => windows[(windowOf[peak] * 3 + stream) * L + k]);
    events.push({ k, from, to, peak: Math.min((peak + 0.5) * unit, seconds), probability, global, local, fused });
  }
  return events;
}
