// What the bundle says of itself: its version, how good it is, the gates it passed, what it was made from (GET
// /lineage), how far its inputs have drifted, where a service knows, and whether it takes feedback (GET /status).

const ENDS = ["_low", "_high"];
const SIGNS = { "at least": "≥", "at most": "≤", above: ">" };
const OTHERS = {
  majority: "commonest label",
  byte_ngram: "n-gram of bytes",
  token_ngram: "n-gram of tokens",
};

byId("what-it-is").textContent = facts.what_it_is;
byId("version").textContent = facts.version;

async function showAbout() {
  try {
    const { model, manifest, provenance } = await (await ask("/lineage")).json();
    const speed = speedOf(model, provenance);
    showQuality(model.metrics, speed);
    showOthers(model);
    showFigures(model.metrics.evaluate);
    showGates(manifest.gates ?? [], speed);
    showOrigin(model, provenance);
    showStages(model, provenance?.runs ?? {});
    byId("about-error").textContent = "";
  } catch (error) {
    byId("about-error").textContent = `What is known of the model cannot be shown. ${error.message}`;
  }
  await showStatus();
}

// The measured speed of the candidate that was chosen; null where this Bento does not carry it.
function speedOf({ metrics: { compress } }, provenance) {
  const name = compress.sparsity ? `${compress.method} ${compress.sparsity}` : compress.method;
  return provenance?.speeds?.[name] ?? null;
}

const interval = (report, name, digits) => {
  const [low, high] = ENDS.map((end) => report[name + end]);
  return low === undefined || low === null || high === undefined || high === null
    ? ""
    : `${figure(low, digits)} to ${figure(high, digits)}`;
};

function tile(title, value, note) {
  return el("div", {}, el("dt", { text: title }), el("dd", {}, el("span", { class: "value", text: value }), note));
}

function showQuality({ compress }, speed) {
  const metric = worded(compress.metric);
  byId("judged").textContent = `On ${compress.judged}, which it was not trained on.`;
  const tiles = [
    tile(
      `${metric}, as served`,
      figure(compress.quality, 3),
      `the float model's: ${figure(compress.float_quality, 3)}`,
    ),
    tile("same answer as the float model", percent(compress.agreement), `of the ${compress.unit}`),
    tile(
      "size",
      sized(compress.size_bytes),
      `${figure(compress.size_ratio, 2)} of the float model's (${worded(compress.method)})`,
    ),
  ];
  if (speed) {
    tiles.push(
      tile("speed, where it was packaged", `${speed.speedup.toFixed(1)} ×`, "torch in fp32, a request at a time"),
    );
  }
  byId("tiles").replaceChildren(...tiles);
}

const sized = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

// The float model on what evaluate judged, beside what it is compared with: `baseline_accuracy`, `xz_bits_per_byte`, …
function showOthers({ metrics: { evaluate, compress }, is_lower_better: isLower }) {
  const { metric } = compress;
  const own = evaluate[metric];
  const end = `_${metric}`;
  const others = Object.entries(evaluate)
    .filter(([name, value]) => name.endsWith(end) && typeof value === "number" && name !== `test${end}`)
    .map(([name, value]) => [name.slice(0, -end.length), value]);
  if (typeof own !== "number" || !others.length) return;
  const longest = isLower ? Math.max(own, ...others.map(([, value]) => value)) : 1;
  const range = interval(evaluate, metric, 3);
  byId("others").replaceChildren(
    barred("the float model", own / longest, figure(own, 3), { chosen: true }),
    ...others.map(([name, value]) => barred(OTHERS[name] ?? worded(name), value / longest, figure(value, 3))),
  );
  byId("others-title").textContent = `${worded(metric)} of the float model, beside others`;
  byId("others-hint").textContent =
    `${isLower ? "Lower" : "Higher"} is better.` + (range ? ` The float model's interval is ${range}.` : "");
  byId("beside").hidden = false;
}

function showFigures(evaluate) {
  const isFigure = ([name, value]) =>
    typeof value === "number" && name !== "confidence" && !ENDS.some((end) => name.endsWith(end));
  const rows = Object.entries(evaluate).filter(isFigure);
  if (!rows.length) return;
  const confidence = evaluate.confidence ? `${percent(evaluate.confidence).replace(".0", "")} interval` : "Interval";
  const table = tableOf(
    ["Figure", "Value", confidence],
    rows.map(([name, value]) => [worded(name), figure(value), interval(evaluate, name)]),
    "Figures of the float model",
  );
  byId("figures").append(table);
  byId("figures").hidden = false;
}

function showGates(gates, speed) {
  if (!gates.length) return;
  const rows = gates.map(({ stage, figure: name, value, bound, limit }) => {
    const measured = name === "speedup" ? speed?.speedup : value;
    const isNone = bound === "at most" && limit === 0;
    return [
      `${stage}: ${worded(name)}`,
      typeof measured === "number" ? figure(measured) : "passed",
      isNone ? "none" : `${SIGNS[bound] ?? bound} ${figure(limit)}`,
    ];
  });
  byId("gates").append(tableOf(["Gate", "Measured", "Limit"], rows, "Gates, their figures and their limits"));
  byId("gates").hidden = false;
}

function tableOf(titles, rows, caption) {
  const head = el("tr", {}, ...titles.map((text) => el("th", { scope: "col", text })));
  const line = ([first, ...others]) =>
    el("tr", {}, el("th", { scope: "row", text: first }), ...others.map((text) => el("td", { text })));
  const table = el(
    "table",
    {},
    el("caption", { class: "unseen", text: caption }),
    el("thead", {}, head),
    el("tbody", {}, ...rows.map(line)),
  );
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}

function showOrigin({ data, contract }, provenance) {
  const { source } = data;
  const named = [source?.kind, source?.package ?? source?.path ?? source?.name ?? source?.url, source?.version];
  const lines = [
    ["Data", named.filter((word) => word !== undefined && word !== null).join(" ")],
    ["Rows", `${whole(data.num_rows)}, licence ${data.licence}`],
    ["Labels", (contract.labels ?? []).slice(0, 20).join(", ")],
    ["Version", facts.digests.version],
    ["Build", facts.digests.build],
    ["Commit", provenance?.git_commit],
    [
      "Packaged",
      provenance?.packaged_at &&
        new Date(provenance.packaged_at).toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" }),
    ],
    [
      "Machine",
      provenance?.machine && `${provenance.machine.processor}, ${counted(provenance.machine.num_cores, "core")}`,
    ],
  ];
  byId("origin").replaceChildren(
    ...lines
      .filter(([, value]) => value)
      .map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value }))),
  );
}

// Every stage before package, with its parameters, the digests of what it made, and the run that made it.
function showStages({ made_from: madeFrom, stages = [] }, runs) {
  const names = Object.keys(madeFrom).sort((one, other) => stages.indexOf(one) - stages.indexOf(other));
  byId("stages").replaceChildren(
    ...names.map((name) => {
      const { params, outs } = madeFrom[name];
      const made = Object.entries(outs ?? {}).map(([path, digest]) =>
        el("li", {}, el("code", { text: path }), " ", el("code", { class: "digest", text: digest })),
      );
      return el(
        "details",
        {},
        el("summary", { text: name }),
        el("pre", {
          tabindex: "0",
          role: "region",
          "aria-label": `Parameters of ${name}`,
          text: JSON.stringify(params, null, 2),
        }),
        el("ul", { class: "outs" }, ...made),
        ...(runs[name] ? [el("p", { class: "outs" }, "Run ", el("code", { text: runs[name] }))] : []),
      );
    }),
  );
}

// GET /status may not be there: then nothing is known of drift, and no feedback taken.
async function showStatus() {
  let drift;
  let feedback;
  try {
    ({ drift, feedback } = await (await ask("/status")).json());
  } catch {
    return;
  }
  takeFeedback(feedback);
  showDrift(drift);
}

// The verdict of the last `modelyard monitor`, where there is one.
const VERDICTS = {
  steady: "No drift found",
  drift: "The inputs, the answers or their quality have drifted",
  degraded: "No drift found, but the service is outside of its limits",
  "too few": "Too few requests to judge",
};
function showDrift(drift) {
  if (typeof drift?.state !== "string") return;
  const known = [
    VERDICTS[drift.state] ?? drift.state,
    typeof drift.num_rows === "number" ? `in ${counted(drift.num_rows, "row")}` : "",
    drift.newest ? `up to ${new Date(drift.newest).toLocaleString()}` : "",
    drift.version ? `of version ${drift.version}` : "",
  ];
  byId("drift-verdict").textContent = `${known.filter((words) => words).join(" ")}.`;
  byId("drift-reasons").replaceChildren(...(drift.reasons ?? []).map((text) => el("li", { text })));
  byId("drift").hidden = false;
}

byId("key").addEventListener("change", showAbout);
showAbout();
