// What the server counts, in the text format of Prometheus, read into the few figures that are drawn.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ITS_OWN = /^(\/|\/page\/.*|\/metrics|none)$/; // paths that the page itself asks for

/** Return the samples of a text: {name, labels, value}. */
function parse(text) {
  return text.split("\n").map((line) => LINE.exec(line)).filter(Boolean).map(([, name, labels, value]) => ({
    name,
    labels: Object.fromEntries([...(labels ?? "").matchAll(LABEL)].map(([, key, is]) => [key, is])),
    value: Number(value),
  }));
}

/** Return what is drawn, as it stands now; counts are since the server started. */
export function read(text) {
  const samples = parse(text);
  const sum = (name, wanted = () => true) => samples
    .filter((x) => x.name === name && wanted(x.labels)).reduce((total, x) => total + x.value, 0);
  const model = samples.find((x) => x.name === "modicum_model_info");
  return {
    model: model?.labels,
    requests: sum("modicum_requests_total", ({ path }) => !ITS_OWN.test(path)),
    failed: sum("modicum_requests_total", ({ status }) => Number(status) >= 500),
    underWay: sum("modicum_requests_under_way") - 1, // one asks for this
    answers: sum("modicum_answers_total"),
    fallback: sum("modicum_answers_total", ({ source }) => source === "popularity"),
    passes: sum("modicum_batch_requests_count"),
    inPasses: sum("modicum_batch_requests_sum"),
    buckets: buckets(samples.filter((x) => x.name === "modicum_request_seconds_bucket" && !ITS_OWN.test(x.labels.path))),
  };
}

/** Return [[upper bound, how many at most that]] over all labels, the bounds ascending. */
function buckets(samples) {
  const counted = new Map();
  for (const { labels, value } of samples) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counted.set(bound, (counted.get(bound) ?? 0) + value);
  }
  return [...counted].sort(([a], [b]) => a - b);
}

/** Seconds that a share of the requests between two readings took at most, null without requests. */
export function quantile(share, now, before = []) {
  const earlier = new Map(before);
  const counts = now.map(([bound, count]) => [bound, count - (earlier.get(bound) ?? 0)]);
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  let [from, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) {
      return bound === Infinity ? from : from + ((bound - from) * (share * all - below)) / (count - below);
    }
    [from, below] = [bound, count];
  }
  return from;
}
