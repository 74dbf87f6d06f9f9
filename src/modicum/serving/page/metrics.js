// What a server counts, in the text format of Prometheus, read into the few figures that are drawn.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Return name -> {type, samples: [{name, labels, value}]} of a text. */
export function parse(text) {
  const families = new Map();
  let family = null;
  for (const line of text.split("\n")) {
    if (line.startsWith("# TYPE ")) {
      const [, , name, type] = line.split(" ");
      family = { type, samples: [] };
      families.set(name, family);
    } else if (line && !line.startsWith("#")) {
      const found = LINE.exec(line);
      if (!found || !family) continue;
      const labels = Object.fromEntries(
        [...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
      family.samples.push({ name: found[1], labels, value: Number(found[3]) });
    }
  }
  return families;
}

const sum = (samples) => samples.reduce((total, sample) => total + sample.value, 0);

/** The family of a type whose name has one of the words, the first word first. */
function named(families, type, words) {
  const candidates = [...families].filter(([name, family]) => family.type === type && !/^(python|process)_/.test(name));
  for (const word of words) {
    const found = candidates.find(([name]) => name.includes(word));
    if (found) return found[1].samples.filter((sample) => !sample.name.endsWith("_created"));
  }
  return null;
}

/** Return what is drawn, as it stands now; null for what the server does not count. */
export function read(families) {
  const counters = [...families.values()].filter((family) => family.type === "counter");
  const answers = counters.map((family) => family.samples).find((samples) => samples.some((x) => "source" in x.labels));
  const requests = named(families, "counter", ["requests", "answers"]);
  const latency = named(families, "histogram", ["recommend", "request", "latency", "duration", "seconds"]);
  const queue = named(families, "gauge", ["queue", "waiting"]);
  return {
    requests: requests && sum(requests),
    queue: queue && sum(queue),
    answered: answers ? sum(answers) : null,
    fallback: answers ? sum(answers.filter((x) => x.labels.source === "popularity")) : null,
    buckets: latency && buckets(latency),
  };
}

/** Return [[upper bound, how many at most that]] over all labels, the bounds ascending. */
function buckets(samples) {
  const counted = new Map();
  for (const { labels, value } of samples.filter((x) => "le" in x.labels)) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counted.set(bound, (counted.get(bound) ?? 0) + value);
  }
  return [...counted].sort(([a], [b]) => a - b);
}

/** Seconds that a share of the requests between two readings took at most, between bucket bounds. */
export function quantile(share, now, before = []) {
  const earlier = new Map(before);
  const counts = now.map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [from, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) {
      if (bound === Infinity || count === below) return from;
      return from + ((bound - from) * (share * all - below)) / (count - below);
    }
    [from, below] = [bound, count];
  }
  return from;
}
