"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const PER_PAGE = 20;

// ---- samples -----------------------------------------------------------------------------------------------------

const mean = (scores) => (scores.semantics + scores.quality) / 2;
const SAMPLES = DATA.samples.map((sample, place) => {
  const task = DATA.tasks[sample.task];
  const baseline = sample.rejudged || task.scores;
  const why = sample.failure ? `failed: ${sample.failure.stage}` : sample.parse_error ? `unparsable: ${sample.parse_error}` : "";
  const told = [task.id, task.instruction, task.prompt, sample.response, sample.failure && sample.failure.error,
    sample.critique && sample.critique.refine_prompt, sample.critique && sample.critique.thought,
    sample.scores && sample.scores.reason, baseline.reason, sample.extra && JSON.stringify(sample.extra)];
  return {
    ...sample, place, of: task, baseline, why: visible(why),
    key: `${sample.phase} ${sample.step} ${task.id}`,
    verdict: sample.critique ? sample.critique.is_success : null,
    gain: sample.scores ? mean(sample.scores) - mean(baseline) : null,
    spread: sample.scores ? Math.max(sample.scores.spread || 0, (sample.rejudged && sample.rejudged.spread) || 0) : null,
    total_seconds: Object.values(sample.seconds).reduce((sum, seconds) => sum + seconds, 0),
    told: told.filter(Boolean).join("\n").toLowerCase(),
  };
});
const MEMBERS = new Map();
for (const sample of SAMPLES) MEMBERS.set(sample.key, (MEMBERS.get(sample.key) || 0) + 1);

const names = (key) => [...new Set(SAMPLES.flatMap((sample) => Object.keys(sample[key] || {})))];
const SORTS = [
  ["order", "run order", (s) => s.place],
  ["reward", "reward", (s) => s.total],
  ["advantage", "advantage", (s) => s.advantage],
  ["gain", "gain (judge's mean)", (s) => s.gain],
  ["semantics", "semantics, new", (s) => s.scores && s.scores.semantics],
  ["quality", "quality, new", (s) => s.scores && s.scores.quality],
  ["baseline", "judge's mean, old", (s) => mean(s.baseline)],
  ["spread", "judge's spread", (s) => s.spread],
  ...names("terms").map((name) => [visible(`term.${name}`), `term ${name}`, (s) => s.terms && s.terms[name]]),
  ["tokens", "tokens", (s) => s.num_tokens],
  ["version", "policy version", (s) => s.policy_version],
  ["seconds", "seconds", (s) => s.total_seconds],
  ...names("seconds").map((name) => [visible(`seconds.${name}`), `seconds of ${name}`, (s) => s.seconds[name]]),
];

const isAgainst = (s) => s.verdict != null && s.verdict !== s.of.is_success;
const PRESETS = [
  ["all", "All", () => true, "order", false],
  ["worst", "Worst", (s) => s.total != null, "reward", false],
  ["best", "Best", (s) => s.total != null, "reward", true],
  ["gain", "Largest gain", (s) => s.gain != null, "gain", true],
  ["spread", "Judge unsure", (s) => s.spread > 0, "spread", true],
  ["against", "Verdict ≠ label", isAgainst, "reward", true],
  ["failed", "Failed", (s) => s.status === "failed", "order", false],
  ["unparsable", "Unparsable", (s) => s.status === "unparsable", "order", false],
  ["flat", "No variance", (s) => s.is_flat, "order", false],
];

// ---- state: in the page's address, so that a view can be kept and sent -------------------------------------------

const EMPTY = { preset: "all", text: "", phase: "", from: "", to: "", status: "", why: "", label: "", verdict: "", sort: "order", down: "", group: "", page: "0" };
let state = { ...EMPTY };

function readAddress() {
  state = { ...EMPTY };
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("preset")) usePreset(given.get("preset"));
  for (const [key, value] of given) if (key in EMPTY && key !== "preset") state[key] = value;
}

function usePreset(name) {
  const preset = PRESETS.find(([known]) => known === name) || PRESETS[0];
  state = { ...state, preset: preset[0], sort: preset[3], down: preset[4] ? "1" : "", page: "0" };
}

function change(changes) {
  state = { ...state, page: "0", ...changes };
  const kept = Object.entries(state).filter(([key, value]) => value !== EMPTY[key] || key === "sort" || key === "down");
  history.replaceState(null, "", "#" + new URLSearchParams(kept));
  draw();
}

// ---- choosing ----------------------------------------------------------------------------------------------------

function chosen() {
  const preset = PRESETS.find(([name]) => name === state.preset) || PRESETS[0];
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = SAMPLES.filter((s) =>
    preset[2](s) &&
    (!state.group || s.key === state.group) &&
    (!state.phase || s.phase === state.phase) &&
    (state.from === "" || s.step >= Number(state.from)) &&
    (state.to === "" || s.step <= Number(state.to)) &&
    (!state.status || s.status === state.status) &&
    (!state.why || s.why === state.why) &&
    (!state.label || spoken(s.of.is_success) === state.label) &&
    (!state.verdict || (s.verdict != null && spoken(s.verdict) === state.verdict)) &&
    words.every((word) => s.told.includes(word)));
  const value = (SORTS.find(([name]) => name === state.sort) || SORTS[0])[2];
  const direction = state.down ? -1 : 1;
  const isByWhy = ["failed", "unparsable"].includes(state.preset) && state.sort === "order";
  return found.sort((a, b) => {
    if (isByWhy && a.why !== b.why) return a.why < b.why ? -1 : 1;
    const [one, other] = [value(a), value(b)];
    if (one == null || other == null) return (one == null) - (other == null) || a.place - b.place; // without a number: last
    return direction * (one - other) || a.place - b.place;
  });
}

// ---- drawing -----------------------------------------------------------------------------------------------------

function draw() {
  const found = chosen();
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  const page = Math.min(Math.max(0, Number(state.page) || 0), pages - 1);
  state.page = String(page);
  byId("cards").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
  if (!found.length) byId("cards").append(make("p", "empty", "No sample matches."));
  for (const below of ["", "-below"]) {
    byId("count" + below).textContent = `${found.length.toLocaleString("en")} of ${SAMPLES.length.toLocaleString("en")} samples · page ${page + 1} of ${pages}`;
    byId("previous" + below).disabled = page === 0;
    byId("next" + below).disabled = page === pages - 1;
  }
  for (const key of ["text", "phase", "from", "to", "status", "why", "label", "verdict", "sort"]) byId(key).value = state[key];
  byId("order").textContent = state.sort === "order" ? (state.down ? "last to first" : "first to last") : state.down ? "largest first" : "smallest first";
  byId("group").hidden = !state.group;
  byId("group").textContent = `only the group ${state.group} ✕`;
  for (const button of byId("presets").children) button.setAttribute("aria-pressed", String(button.value === state.preset));
}

function card(s) {
  const group = make("button", "", "its group");
  group.type = "button";
  group.addEventListener("click", () => { usePreset("all"); change({ group: s.key }); scrollTo(0, 0); });
  const advantage = s.advantage == null ? (s.is_flat ? "no variance in its group" : null) : `advantage ${signed(s.advantage)}`;
  return make("article", "card",
    make("div", "head",
      make("span", `badge ${s.status}`, s.why || (s.is_truncated ? "ok, truncated" : "ok")),
      make("b", "", s.of.id), make("span", "", `${s.phase} step ${s.step}`),
      make("span", "", `sample ${s.index}`), MEMBERS.get(s.key) > 1 ? group : null,
      s.policy_version == null ? null : make("span", "", `policy ${s.policy_version}`),
      make("span", "earned", advantage, advantage ? " · " : null, s.total == null ? "no reward" : ["reward ", make("b", "", short(s.total))])),
    make("div", "body", images(s), text(s)),
    numbers(s));
}

function images(s) {
  const drawn = s.image != null ? picture(s.image, "regenerated")
    : nothing(s.failure ? `no image: failed at ${s.failure.stage}` : s.critique ? "not regenerated" : "not regenerated: unparsable");
  return make("div", "images",
    make("figure", "", s.of.before == null ? nothing("none: drawn from text alone") : picture(s.of.before, "before"),
      make("figcaption", "", make("b", "", "before"))),
    make("figure", "", picture(s.of.after, "rejected"),
      make("figcaption", "", make("b", "", s.of.is_success ? "accepted" : "rejected"), " ", judged(s.baseline))),
    make("figure", "", drawn,
      make("figcaption", "", make("b", "", "regenerated"), " ", s.scores ? judged(s.scores) : null)));
}

function picture(index, alt) {
  const [source, name] = DATA.images[index];
  if (source === null) return make("div", "none lost", "the image is missing: ", name.length > 40 ? name.slice(0, 39) + "…" : name);
  const image = make("img", source.includes("png") ? "pixels" : ""); // only small images are kept as PNG
  Object.assign(image, { src: source, alt, loading: "lazy" });
  const button = make("button", "picture", image);
  Object.assign(button, { type: "button", title: visible(name) });
  button.addEventListener("click", () => {
    const [large, caption] = byId("large").children;
    Object.assign(large, { src: source, alt, className: image.className });
    caption.textContent = `${alt} · ${visible(name)}`;
    byId("large").showModal();
  });
  return button;
}

const nothing = (words) => make("div", "none", words);

function judged(scores) {
  const spread = scores.spread ? `, spread ${short(scores.spread, 2)}` : "";
  return `semantics ${short(scores.semantics, 1)}, quality ${short(scores.quality, 1)}${spread}`;
}

function text(s) {
  const said = s.critique;
  const isRight = said && said.is_success === s.of.is_success;
  return make("div", "text",
    s.failure ? make("p", "error", make("b", "", `failed at ${s.failure.stage}: `), s.failure.error) : null,
    make("p", "asked", make("span", "what", "asked"), s.of.instruction),
    make("p", "", make("span", "what", "old prompt"), s.of.prompt || make("span", "dim", "as asked")),
    said ? make("p", "", make("span", "what", "new prompt"), marked(said.refine_prompt, s.of.prompt || s.of.instruction)) : null,
    said ? make("p", "", make("span", "what", "verdict against label"), `said ${spoken(said.is_success)}, labelled ${spoken(s.of.is_success)} `,
      make("span", isRight ? "right" : "wrong", isRight ? "✓ right" : "✗ wrong")) : make("p", "", make("span", "what", "label"), spoken(s.of.is_success)),
    said && said.thought ? make("p", "long", make("span", "what", "thought"), said.thought) : null,
    reason(s.rejudged ? "judge on the rejected image, asked again" : "judge on the rejected image", s.baseline),
    reason("judge on the regenerated image", s.scores),
    s.response == null ? null : [make("span", "what", "the whole answer"), make("pre", "", s.response)],
    s.extra && Object.keys(s.extra).length ? make("details", "", make("summary", "", "further evidence"), make("pre", "", JSON.stringify(s.extra, null, 1))) : null);
}

function reason(title, scores) {
  return scores && scores.reason ? make("p", "long", make("span", "what", title), scores.reason) : null;
}

function marked(prompt, old) {
  const known = new Set(old.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []);
  return prompt.split(/([\p{L}\p{N}]+)/u).map((part, i) => (i % 2 && !known.has(part.toLowerCase()) ? make("mark", "", part) : part));
}

function numbers(s) {
  const pair = (name, value) => make("span", "nowrap", `${visible(name)} `, make("b", "", value));
  const terms = Object.entries(s.terms || {}).map(([name, value]) => pair(name, short(value)));
  const seconds = Object.entries(s.seconds).map(([name, value]) => pair(name, `${short(value, value < 0.01 ? 5 : 2)} s`));
  return make("div", "numbers", terms, s.gain == null ? null : pair("gain", signed(s.gain)), terms.length ? make("span", "sep") : null,
    seconds, s.num_tokens == null ? null : pair("tokens", String(s.num_tokens)), s.attempt ? pair("attempt", String(s.attempt)) : null);
}

// ---- tools -------------------------------------------------------------------------------------------------------

function options(id, all, values) {
  byId(id).append(new Option(all, ""), ...values.map(([value, label]) => new Option(visible(label), value)));
}

function counted(id, all, value) {
  const counts = new Map();
  for (const sample of SAMPLES) if (value(sample)) counts.set(value(sample), (counts.get(value(sample)) || 0) + 1);
  options(id, all, [...counts].sort().map(([name, count]) => [name, `${name} (${count.toLocaleString("en")})`]));
}

function start() {
  for (const [name, title, takes] of PRESETS) {
    const count = name === "best" || name === "worst" ? null : SAMPLES.filter(takes).length;
    const button = make("button", "", title, count == null ? null : make("small", "", count.toLocaleString("en")));
    Object.assign(button, { value: name, type: "button", disabled: count === 0 });
    button.addEventListener("click", () => { usePreset(name); change({ group: "" }); });
    byId("presets").append(button);
  }
  counted("phase", "every phase", (s) => s.phase);
  counted("status", "every status", (s) => s.status);
  counted("why", "every cause", (s) => s.why);
  counted("label", "every label", (s) => spoken(s.of.is_success));
  counted("verdict", "every verdict", (s) => (s.verdict == null ? "" : spoken(s.verdict)));
  byId("sort").append(...SORTS.map(([name, title]) => new Option(visible(title), name)));
  for (const id of ["text", "phase", "from", "to", "status", "why", "label", "verdict", "sort"]) {
    byId(id).addEventListener("input", (event) => change({ [id]: event.target.value }));
  }
  byId("order").addEventListener("click", () => change({ down: state.down ? "" : "1" }));
  byId("group").addEventListener("click", () => change({ group: "" }));
  byId("large").addEventListener("click", () => byId("large").close()); // the button in it, too
  for (const below of ["", "-below"]) {
    for (const [id, by] of [["previous", -1], ["next", 1]]) {
      byId(id + below).addEventListener("click", () => {
        change({ page: String(Number(state.page) + by) });
        if (below) scrollTo(0, 0);
      });
    }
  }
  addEventListener("hashchange", () => { readAddress(); draw(); });
  readAddress();
  draw();
}

start();
